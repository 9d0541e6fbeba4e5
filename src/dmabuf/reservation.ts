/** The lock of a buffer and the work that is still done with it (struct dma_resv). */
import { DmaBufMisuseError } from "./errors.js";

/** enum dma_resv_usage; who waits for one waits for those before it too. */
const USAGES = ["kernel", "write", "read", "bookkeep"] as const;
export type FenceUsage = (typeof USAGES)[number];

/** Work of a device that has been begun. */
export interface Fence {
  readonly usage: FenceUsage;
  /** Called by the first who waits for it: what is done when the work ends. */
  readonly complete: () => void;
}

export class Reservation {
  #held = false;
  #fences: Fence[] = [];

  constructor(private readonly name: string) {}

  get held(): boolean {
    return this.#held;
  }

  /** Work not waited for so far. */
  get pending(): number {
    return this.#fences.length;
  }

  /** dma_resv_lock() around some work. Throws DmaBufMisuseError `reservation` when it is held: nobody would wake up. */
  with<T>(work: () => T): T {
    if (this.#held) throw new DmaBufMisuseError("reservation", `lock ${this.name}`, "it is held already");
    this.#held = true;
    try {
      return work();
    } finally {
      this.#held = false;
    }
  }

  /** dma_resv_assert_held(). Throws DmaBufMisuseError `reservation`. */
  assertHeld(operation: string): void {
    if (!this.#held) throw new DmaBufMisuseError("reservation", operation, `${this.name} is not locked`);
  }

  /** dma_resv_add_fence(). Throws DmaBufMisuseError `reservation`. */
  add(fence: Fence): void {
    this.assertHeld("add a fence");
    this.#fences.push(fence);
  }

  /** dma_resv_wait_timeout() without a timeout, for all work of this usage and of those before it. */
  wait(usage: FenceUsage): void {
    const last = USAGES.indexOf(usage);
    const due = this.#fences.filter((fence) => USAGES.indexOf(fence.usage) <= last);
    this.#fences = this.#fences.filter((fence) => !due.includes(fence));
    for (const { complete } of due) complete();
  }
}
