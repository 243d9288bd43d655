// Questions to the database that arrive one by one and are asked together: while one is under way, whatever is asked
// meanwhile waits, and goes with the next. A statement that stores something costs a commit, so that without this two
// hundred small requests a second, each with something new, would wait for two hundred commits in a row.
import { isUnavailable } from './unavailable.ts'

interface Call<Item, Answer> {
  readonly items: readonly Item[]
  readonly resolve: (answers: Answer[]) => void
  readonly reject: (error: unknown) => void
}

export class Gathered<Item, Answer> {
  readonly #put: (items: readonly Item[]) => Promise<readonly Answer[]>
  readonly #most: number
  readonly #waiting: Call<Item, Answer>[] = []
  #busy = false

  /**
   * @param put asks for all these at once; answers in their order. Items may repeat.
   * @param most items of one question, unless one caller asks for more
   */
  constructor(put: (items: readonly Item[]) => Promise<readonly Answer[]>, most: number) {
    this.#put = put
    this.#most = most
  }

  /** Answers in the order of `items`. @throws what `put` throws for these items */
  ask(items: readonly Item[]): Promise<Answer[]> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ items, resolve, reject })
      if (!this.#busy) void this.#run()
    })
  }

  async #run(): Promise<void> {
    this.#busy = true
    while (this.#waiting.length > 0) await this.#together(this.#next())
    this.#busy = false
  }

  #next(): Call<Item, Answer>[] {
    let size = this.#waiting[0]!.items.length
    let count = 1
    for (; count < this.#waiting.length; count++) {
      size += this.#waiting[count]!.items.length
      if (size > this.#most) break
    }
    return this.#waiting.splice(0, count)
  }

  /** Never throws. What only one of several asked wrongly must not fail the others: then each half goes by itself. */
  async #together(calls: readonly Call<Item, Answer>[]): Promise<void> {
    try {
      const answers = await this.#put(calls.flatMap(({ items }) => items))
      let at = 0
      for (const { items, resolve } of calls) {
        resolve(answers.slice(at, at + items.length))
        at += items.length
      }
    } catch (error) {
      const half = calls.length >> 1
      if (half === 0 || isUnavailable(error)) for (const { reject } of calls) reject(error)
      else {
        await this.#together(calls.slice(0, half))
        await this.#together(calls.slice(half))
      }
    }
  }
}
