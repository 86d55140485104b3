import type { FastifyInstance, FastifyPluginCallback, FastifyReply } from 'fastify'
import type { CompatApiName } from '../config.js'
import type { Frame } from '../http/errors.js'
import { booking, bookingTag } from './booking.js'
import { type CompatOptions, refuse } from './common.js'
import { DOCUMENT_FAULT, documents, documentsTag } from './documents.js'
import { TERRAFORM_FAULT, terraform, terraformTag } from './terraform.js'
import { TRAFFIC_JAM_FAULT, trafficJam, trafficJamTag } from './traffic-jam.js'

interface CompatApi {
  readonly plugin: FastifyPluginCallback<CompatOptions>
  /** Its heading in the OpenAPI document. */
  readonly tag: { readonly name: string; readonly description: string }
  /** Its paths that hold an id, and what stands in a refusal beside the \`error\`. */
  readonly withId?: { readonly path: RegExp; readonly frame: Frame }
}

/** The other APIs, at the root paths that their clients know. */
export const COMPAT_APIS: Readonly<Record<CompatApiName, CompatApi>> = {
  'traffic-jam': {
    plugin: trafficJam,
    tag: trafficJamTag,
    withId: { path: /^\/(?:un)?lock\/(?:user|company|contract)\/[^/?]+(?:\?|$)/, frame: TRAFFIC_JAM_FAULT }
  },
  documents: { plugin: documents, tag: documentsTag, withId: { path: /^\/api\/lock\/status\/[^/?]+(?:\?|$)/, frame: DOCUMENT_FAULT } },
  booking: { plugin: booking, tag: bookingTag },
  terraform: { plugin: terraform, tag: terraformTag, withId: { path: /^\/terraform\/[^/?]+(?:\/(?:un)?lock)?(?:\?|$)/, frame: TERRAFORM_FAULT } }
}

export async function registerCompatApis(app: FastifyInstance, apis: readonly CompatApiName[], options: CompatOptions): Promise<void> {
  for (const api of apis) await app.register(COMPAT_APIS[api].plugin, options)
}

/** Answers a path of one of the APIs whose id cannot be decoded, for which the router finds no route. */
export function refuseUndecodableId(url: string, apis: readonly CompatApiName[], reply: FastifyReply): FastifyReply | undefined {
  const api = apis.map((name) => COMPAT_APIS[name].withId).find((withId) => withId?.path.test(url) === true)
  return api === undefined ? undefined : refuse(reply, api.frame, 400, 'The id in the path should be percent-encoded UTF-8')
}
