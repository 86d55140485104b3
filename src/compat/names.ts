/** The other APIs that can be served beside the service's own, as `COMPAT_APIS` names them. */
export const COMPAT_API_NAMES = ['traffic-jam', 'documents', 'booking'] as const

export type CompatApiName = (typeof COMPAT_API_NAMES)[number]

/** Under which heading each stands in the OpenAPI document. */
export const COMPAT_TAGS: Readonly<Record<CompatApiName, { readonly name: string; readonly description: string }>> = {
  'traffic-jam': {
    name: 'Traffic jam',
    description: 'Locks on users, companies and contracts, as traffic-jam-session has them. Faults are `{"error": …}`.'
  },
  documents: {
    name: 'Documents',
    description: 'Locks on documents, as the Document Locking System has them. Refusals are `{"success": false, "error": …}`.'
  },
  booking: {
    name: 'Booking',
    description: 'Seats for a minute, as the Ticket Booking API has them. Refusals are `{"success": false, "error": …}`.'
  }
}
