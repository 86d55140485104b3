import { buildApp } from '../src/app.js'
import { readConfig } from '../src/config.js'
import { LockService } from '../src/locks/lock-service.js'
import { openStore } from '../src/storage/index.js'

/** `npm run --silent openapi` prints the OpenAPI document of a service with the default settings. It listens nowhere. */
await using store = await openStore({ databaseUrl: 'sqlite::memory:' })
const { MAX_TTL_SECONDS: maxTtlSeconds, MAX_WAIT_SECONDS: maxWaitSeconds, COMPAT_APIS: compatApis } = readConfig({})
const app = await buildApp({ locks: new LockService(store, { defaultTtlMs: null }), maxTtlSeconds, maxWaitSeconds, compatApis })
const { payload } = await app.inject('/openapi.json')
process.stdout.write(`${JSON.stringify(JSON.parse(payload), null, 2)}\n`)
await app.close()
