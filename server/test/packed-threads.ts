// In each worker of the tests, before a test file is read.
import { packThreads } from './packed.ts'

packThreads()
