import type { TableMemory } from "./table-memory.js";

/** The tables of one level. */
export interface TableLevel {
  /** log2 of the bytes that an entry covers. */
  readonly shift: number;
  readonly indexBits: number;
  readonly entryBytes: number;
  /** Bytes that a table takes, when more than its entries. */
  readonly tableBytes?: number;
}

/** A level of 512 entries of 8 bytes: most GPUs' tables, and the CPU's. */
export function pageLevel(shift: number): TableLevel {
  return { shift, indexBits: 9, entryBytes: 8 };
}

/** What an entry says: another table, a page, or nothing. */
export type Step =
  | { readonly table: bigint; readonly level: TableLevel }
  | { readonly page: bigint; readonly pageShift: number }
  | { readonly fault: string };

/** How an entry is read; `slots` are the addresses of the words that were. */
export type Decode = (slot: bigint, level: TableLevel, slots: bigint[], va: bigint) => Step;

/** The outcome of a walk. A fault is an outcome, never an exception. */
export type Translation =
  | { readonly address: bigint; readonly pageSize: bigint; readonly slots: readonly bigint[] }
  | { readonly fault: string; readonly slots: readonly bigint[] };

/** Address of the entry for a virtual address in a table. */
export function entryAddress(table: bigint, level: TableLevel, va: bigint): bigint {
  const index = BigInt.asUintN(level.indexBits, va >> BigInt(level.shift));
  return table + index * BigInt(level.entryBytes);
}

/** A radix tree of tables that grows where entries are asked for. */
export class TableTree {
  readonly root: bigint;
  readonly #tables = new Map<TableLevel, Map<bigint, bigint>>();

  /**
   * @param levels the root first
   * @param link writes the entry at `slot` that points to a new table of a level
   */
  constructor(
    readonly memory: TableMemory,
    readonly levels: readonly TableLevel[],
    private readonly link: (slot: bigint, table: bigint, level: TableLevel) => void,
  ) {
    this.root = this.#allocate(levels[0]);
  }

  /**
   * Address of the entry for a virtual address, with the tables above it.
   * @param depth 0 for the root
   * @param level which kind of table, where that depth has several
   */
  slot(va: bigint, depth: number, level: TableLevel = this.levels[depth]): bigint {
    return entryAddress(depth === 0 ? this.root : this.#table(va, depth, level), level, va);
  }

  /** Walks the tables, reading nothing but them. */
  walk(va: bigint, decode: Decode): Translation {
    const slots: bigint[] = [];
    let level = this.levels[0];
    if (va < 0n || va >> BigInt(level.shift + level.indexBits) !== 0n) {
      return { fault: "the virtual address is wider than the tables translate", slots };
    }
    let table = this.root;
    for (;;) {
      const step = decode(entryAddress(table, level, va), level, slots, va);
      if ("fault" in step) return { fault: step.fault, slots };
      if ("page" in step) {
        const pageSize = 1n << BigInt(step.pageShift);
        return { address: step.page + (va & (pageSize - 1n)), pageSize, slots };
      }
      table = step.table;
      level = step.level;
    }
  }

  #table(va: bigint, depth: number, level: TableLevel): bigint {
    const tables = this.#tables.get(level) ?? new Map<bigint, bigint>();
    this.#tables.set(level, tables);
    const key = va >> BigInt(level.shift + level.indexBits);
    const found = tables.get(key);
    if (found !== undefined) return found;
    const parent = this.slot(va, depth - 1);
    const table = this.#allocate(level);
    tables.set(key, table);
    this.link(parent, table, level);
    return table;
  }

  #allocate({ indexBits, entryBytes, tableBytes = entryBytes << indexBits }: TableLevel): bigint {
    return this.memory.allocate(tableBytes, tableBytes);
  }
}
