// Chance that comes from a seed and nothing else. Each part of the simulation draws from a stream of its own, so that
// what one part draws does not shift what the others do.

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A stream that depends on this one's state and on `name`, and draws once from this one. */
  fork(name: string): Random {
    let mixed = Math.floor(this.float() * 2 ** 32);
    for (const character of name) mixed = Math.imul(mixed ^ (character.codePointAt(0) ?? 0), 0x01000193);
    return new Random(mixed);
  }

  /** In [0, 1). mulberry32. */
  float(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** In [min, max). */
  int(min: number, max: number): number {
    return min + Math.floor(this.float() * (max - min));
  }

  between(min: number, max: number): number {
    return min + this.float() * (max - min);
  }

  /** Mostly near `min`, now and then near `max`. */
  skewed(min: number, max: number): number {
    return min + (max - min) * this.float() ** 4;
  }

  chance(probability: number): boolean {
    return this.float() < probability;
  }

  pick<T>(from: readonly T[]): T {
    const picked = from[this.int(0, from.length)];
    if (picked === undefined) throw new Error("nothing to pick from");
    return picked;
  }

  shuffled<T>(from: readonly T[]): T[] {
    const left = [...from];
    const result: T[] = [];
    while (left.length > 0) result.push(...left.splice(this.int(0, left.length), 1));
    return result;
  }
}
