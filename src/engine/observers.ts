/** Whoever follows what software changes in an emulated machine, after each change. */
export interface MachineObserver {
  /** [iova, iova + length) of the table with this root is mapped; `freedTables`: table pages gave way to larger leaves. */
  mapped(root: bigint, iova: bigint, length: bigint, freedTables: boolean): void;
  unmapped(root: bigint, iova: bigint, length: bigint, freedTables: boolean): void;
  /** Bytes of memory were written, not by way of a table. */
  written(address: bigint, length: number): void;
}

/** The observers of one engine. With none, a change costs one look at `any`. */
export class MachineObservers {
  #all: readonly MachineObserver[] = [];
  any = false;

  get all(): readonly MachineObserver[] {
    return this.#all;
  }

  add(observer: MachineObserver): void {
    this.#all = [...this.#all, observer];
    this.any = true;
  }

  remove(observer: MachineObserver): void {
    this.#all = this.#all.filter((one) => one !== observer);
    this.any = this.#all.length > 0;
  }
}
