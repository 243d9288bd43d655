// The end of the connections when the server stops: what carries nothing ends at once, what is under way has a few seconds.
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Log } from '../store/log.ts'

/** For answers under way: less than the ten seconds after which container runtimes kill. */
const patience_ms = 8_000
const sweep_ms = 50

/** @param patience for answers under way, in milliseconds; then their connections break */
export function closeConnections(app: FastifyInstance, log: Log, patience = patience_ms): void {
  const open = new Set<Socket>()
  app.server.on('connection', (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  // Node takes a connection for idle once it carried a request. One that falls idle after closing began, or that a browser or
  // a balancer opened ahead and never used, would be waited for until its time is over.
  const sweep = () => {
    app.server.closeIdleConnections()
    for (const socket of open) if (socket.bytesRead === 0) socket.destroy()
  }
  app.addHook('preClose', (done) => {
    const sweeping = setInterval(sweep, sweep_ms)
    const ending = setTimeout(() => {
      log.warn({ connections: open.size }, 'requests under way are cut off: the server stops')
      app.server.closeAllConnections()
    }, patience)
    app.server.once('close', () => {
      clearInterval(sweeping)
      clearTimeout(ending)
    })
    done()
  })
}
