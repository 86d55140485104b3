import htm from 'htm'
import { h, type VNode } from 'preact'

type Markup<Element> = (strings: TemplateStringsArray, ...values: unknown[]) => Element

/** Its own types describe the CommonJS build; what a browser loads has the function itself as its default. */
const markup = htm as unknown as { readonly bind: (create: typeof h) => Markup<VNode> }

/**
 * Markup as a tagged template, made into elements without ever being parsed as HTML: what is put into it is a text or an
 * attribute's value, whatever it looks like.
 */
export const html = markup.bind(h)
