import type { FastifyInstance, FastifyPluginCallback, FastifyReply } from 'fastify'
import type { Frame } from '../http/errors.js'
import { booking } from './booking.js'
import { documents, DOCUMENT_FAULT } from './documents.js'
import type { CompatApiName } from './names.js'
import { refuse, type CompatOptions } from './scope.js'
import { trafficJam, TRAFFIC_JAM_FAULT } from './traffic-jam.js'

const PLUGINS: Readonly<Record<CompatApiName, FastifyPluginCallback<CompatOptions>>> = { 'traffic-jam': trafficJam, documents, booking }

/** Where a path holds an id, and how its API refuses one that cannot be read. */
const PATHS_WITH_IDS: readonly (readonly [CompatApiName, path: RegExp, Frame])[] = [
  ['traffic-jam', /^\/(?:un)?lock\/(?:user|company|contract)\/[^/?]+(?:\?|$)/, TRAFFIC_JAM_FAULT],
  ['documents', /^\/api\/lock\/status\/[^/?]+(?:\?|$)/, DOCUMENT_FAULT]
]

/** The other APIs, at the root paths that their clients know. */
export async function registerCompatApis(app: FastifyInstance, apis: readonly CompatApiName[], options: CompatOptions): Promise<void> {
  for (const api of apis) await app.register(PLUGINS[api], options)
}

/** Answers a path whose id cannot be decoded, where it is that of one of the APIs: the router has not got to any route then. */
export function refuseUndecodableId(url: string, apis: readonly CompatApiName[], reply: FastifyReply): FastifyReply | undefined {
  const [, , frame] = PATHS_WITH_IDS.find(([api, path]) => apis.includes(api) && path.test(url)) ?? []
  return frame === undefined ? undefined : refuse(reply, frame, 400, 'The id in the path should be percent-encoded UTF-8')
}
