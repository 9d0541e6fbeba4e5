/** Things that live until chance ends them: every one as likely, whatever its age, so lifetimes are geometric. */
import type { Random } from "../random.js";

export class Live<T> {
  readonly #things: T[] = [];
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  get count(): number {
    return this.#things.length;
  }

  add(thing: T): void {
    this.#things.push(thing);
  }

  /** Takes one out. There must be one. */
  takeAny(): T {
    const at = this.#random.below(this.#things.length);
    const taken = this.#things[at];
    const last = this.#things.pop() as T;
    if (at < this.#things.length) this.#things[at] = last;
    return taken;
  }
}
