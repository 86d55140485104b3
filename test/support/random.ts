/** Random choices that a seed repeats. */
export class Random {
  #state: number

  /** @param seed a whole number. */
  constructor(seed: number) {
    this.#state = seed
  }

  /** From 0 up to 1, like `Math.random`: a Weyl sequence, its bits mixed well enough for tests. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0
    let bits = this.#state
    bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad)
    bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97)
    return ((bits ^ (bits >>> 15)) >>> 0) / 2 ** 32
  }

  /** A whole number from `least` to `most`, both included. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1))
  }

  chance(share: number): boolean {
    return this.next() < share
  }

  pick<Item>(items: readonly Item[]): Item {
    return given(items[this.whole(0, items.length - 1)])
  }

  /** One of the items, each as often as its weight says. */
  weighted<Item extends { readonly weight: number }>(items: readonly Item[]): Item {
    let left = this.next() * items.reduce((sum, { weight }) => sum + weight, 0)
    return given(items.find(({ weight }) => (left -= weight) < 0) ?? items.at(-1))
  }
}

function given<Item>(item: Item | undefined): Item {
  if (item === undefined) throw new RangeError('nothing to choose from')
  return item
}
