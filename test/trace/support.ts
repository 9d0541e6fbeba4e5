/** What the trace tests share: an instance of the module, hand-made trace lines, and a slow checker of the stream. */
import { readFileSync } from "node:fs";
import {
  OPERATION_ADDRESS,
  OPERATION_BYTES,
  OPERATION_CPU,
  OPERATION_DOMAIN,
  OPERATION_KIND,
  OPERATION_LENGTH,
  OPERATION_MAP,
  OPERATION_PIECES,
  OPERATION_SLOT,
  OPERATION_TIME,
  OPERATION_UNMAP,
  PIECE_BYTES,
  PIECE_LENGTH,
  PIECE_PHYSICAL,
} from "../../assembly/layout.js";
import type { WasmExports } from "../../src/engine/instance.js";
import {
  type OperationBatch,
  type TraceInstance,
  TraceReader,
  type TraceReaderOptions,
  type TraceStatistics,
} from "../../src/trace/reader.js";

const build = process.env.IOMMU_LAB_WASM;
const file =
  build === undefined || build === ""
    ? new URL("../../build/iommu.wasm", import.meta.url)
    : build === "debug"
      ? new URL("../../build/iommu.debug.wasm", import.meta.url)
      : build;
const module = new WebAssembly.Module(readFileSync(file));

export function newInstance(): TraceInstance {
  const instance = new WebAssembly.Instance(module, {});
  const exports = instance.exports as unknown as WasmExports;
  return { exports, memory: exports.memory };
}

/** An operation in plain numbers; addresses are bigints, as only tests can afford. */
export type Operation = (
  | { kind: "map"; domain: number; slot: number; iova: bigint; length: bigint; line: number; pieces: Piece[] }
  | { kind: "unmap"; domain: number; slot: number; offset: bigint; length: bigint; line: number }
) & { cpu: number; time: number };

export interface Piece {
  physical: bigint;
  length: bigint;
}

/** Decodes batches in order. */
export function decode(batches: readonly OperationBatch[]): Operation[] {
  const operations: Operation[] = [];
  for (const batch of batches) {
    const view = new DataView(batch.operations.buffer, batch.operations.byteOffset, batch.count * OPERATION_BYTES);
    const pieces = new DataView(batch.pieces.buffer, batch.pieces.byteOffset, batch.pieceCount * PIECE_BYTES);
    let piece = 0;
    for (let index = 0; index < batch.count; index++) {
      const at = index * OPERATION_BYTES;
      const kind = view.getUint32(at + OPERATION_KIND, true);
      const domain = view.getUint32(at + OPERATION_DOMAIN, true);
      const slot = view.getUint32(at + OPERATION_SLOT, true);
      const address = view.getBigUint64(at + OPERATION_ADDRESS, true);
      const length = view.getBigUint64(at + OPERATION_LENGTH, true);
      const line = batch.lines[index];
      const cpu = view.getUint32(at + OPERATION_CPU, true);
      const time = view.getFloat64(at + OPERATION_TIME, true);
      if (kind === OPERATION_MAP) {
        const own: Piece[] = [];
        for (let count = view.getUint32(at + OPERATION_PIECES, true); count > 0; count--) {
          own.push({
            physical: pieces.getBigUint64(piece * PIECE_BYTES + PIECE_PHYSICAL, true),
            length: pieces.getBigUint64(piece * PIECE_BYTES + PIECE_LENGTH, true),
          });
          piece++;
        }
        operations.push({ kind: "map", domain, slot, iova: address, length, line, cpu, time, pieces: own });
      } else if (kind === OPERATION_UNMAP) {
        operations.push({ kind: "unmap", domain, slot, offset: address, length, line, cpu, time });
      } else {
        throw new Error(`operation ${index} has kind ${kind}`);
      }
    }
    if (piece !== batch.pieceCount) throw new Error(`${batch.pieceCount} pieces, ${piece} used`);
  }
  return operations;
}

export interface ReadResult {
  operations: Operation[];
  batches: OperationBatch[];
  domains: (string | null)[];
  names: string[];
  statistics: TraceStatistics;
}

/** Reads text in one piece, or in chunks of the given sizes over and over. */
export function read(
  text: string | Uint8Array,
  options: Omit<TraceReaderOptions, "onBatch"> = {},
  chunkSizes: readonly number[] = [],
): ReadResult {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const batches: OperationBatch[] = [];
  const reader = new TraceReader(newInstance(), { ...options, onBatch: (batch) => batches.push(batch) });
  let at = 0;
  for (let index = 0; at < bytes.length; index++) {
    const size = chunkSizes.length > 0 ? chunkSizes[index % chunkSizes.length] : bytes.length;
    reader.push(bytes.subarray(at, at + size));
    at += size;
  }
  const statistics = reader.end();
  const { domains } = reader;
  reader.close();
  return {
    operations: decode(batches),
    batches,
    domains: domains.map(({ device }) => device),
    names: domains.map(({ name }) => name),
    statistics,
  };
}

/** One line per operation: `map D0 0xffffe000+0x2000 (2)`, `unmap D0 0xffffe000+0x1000`, with the IOVA of an unmap. */
export function summary(operations: readonly Operation[]): string[] {
  const slots = new Map<number, bigint>();
  return operations.map((operation) => {
    const { domain, slot, length } = operation;
    if (operation.kind === "map") slots.set(slot, operation.iova);
    const iova = operation.kind === "map" ? operation.iova : (slots.get(slot) ?? 0n) + operation.offset;
    const pieces = operation.kind === "map" ? ` (${operation.pieces.length})` : "";
    return `${operation.kind} D${domain} 0x${iova.toString(16)}+0x${length.toString(16)}${pieces}`;
  });
}

/** Checks every promise of the stream, page by page, with nothing clever. Returns what is live at the end. */
export function check(operations: readonly Operation[]): { live: number; mappedPages: number } {
  const pagesOfDomain = new Map<number, Map<bigint, number>>();
  const slots = new Map<number, { domain: number; iova: bigint; length: bigint; live: bigint }>();
  let mappedPages = 0;
  for (const [index, operation] of operations.entries()) {
    const fail = (what: string): never => {
      throw new Error(`operation ${index} (line ${operation.line}): ${what}`);
    };
    const pages = pagesOfDomain.get(operation.domain) ?? new Map<bigint, number>();
    pagesOfDomain.set(operation.domain, pages);
    if (operation.length === 0n || operation.length % 4096n !== 0n) fail("odd length");
    // Huge mappings are checked in 2 MiB steps at both ends only; a page each would take the day.
    const step = operation.length > 1n << 24n ? 1n << 21n : 4096n;
    if (operation.kind === "map") {
      if (slots.has(operation.slot)) fail(`slot ${operation.slot} is in use`);
      const sum = operation.pieces.reduce((total, piece) => total + piece.length, 0n);
      if (sum !== operation.length) fail("the pieces do not add up");
      for (let at = 0n; at < operation.length; at += step) {
        if (pages.has(operation.iova + at)) fail("overlap");
        pages.set(operation.iova + at, operation.slot);
      }
      slots.set(operation.slot, { ...operation, live: operation.length });
      mappedPages += Number(operation.length / 4096n);
    } else {
      const slot = slots.get(operation.slot) ?? fail("unmap of a free slot");
      if (slot.domain !== operation.domain) fail("unmap in another domain");
      if (operation.offset + operation.length > slot.length) fail("unmap beyond the allocation");
      for (let at = 0n; at < operation.length; at += 4096n) {
        const page = slot.iova + operation.offset + at;
        const found = pages.get(page);
        if (slot.length <= 1n << 24n && found !== operation.slot) fail("unmap of what is not live");
        pages.delete(page);
      }
      slot.live -= operation.length;
      if (slot.live < 0n) fail("unmapped twice");
      if (slot.live === 0n) slots.delete(operation.slot);
    }
  }
  return { live: slots.size, mappedPages };
}

const hex = (value: number | bigint, digits = 16) => `0x${value.toString(16).padStart(digits, "0")}`;

/** Builder of trace text in the form of tracefs `trace`; sizes in pages, addresses in bytes. */
export class TraceText {
  readonly lines: string[] = [];
  #time = 1_000_000;

  constructor(readonly form: "irq" | "plain" = "irq") {}

  /** `task` is `name-pid`, `flags` the column's five characters. */
  line(where: Where, payload: string): this {
    const { task = "fio-100", cpu = 0, flags = "....." } = where;
    const time = `${Math.floor(this.#time / 1e6)}.${String(this.#time % 1e6).padStart(6, "0")}`;
    this.#time += 3;
    const column = this.form === "irq" ? `${flags} ` : "";
    this.lines.push(`${task.padStart(16)}     [${String(cpu).padStart(3, "0")}] ${column}  ${time}: ${payload}`);
    return this;
  }

  map(where: Where, iova: number, physical: number, pages = 1): this {
    const end = iova + pages * 4096;
    return this.line(where, `map: IOMMU: iova=${hex(iova)} - ${hex(end)} paddr=${hex(physical)} size=${pages * 4096}`);
  }

  unmap(where: Where, iova: number, pages = 1, unmapped = pages): this {
    const end = iova + pages * 4096;
    return this.line(
      where,
      `unmap: IOMMU: iova=${hex(iova)} - ${hex(end)} size=${pages * 4096} unmapped_size=${unmapped * 4096}`,
    );
  }

  dmaMap(where: Where, device: string, address: number, size: number, physical: number): this {
    const where_ = `dma_addr=${address.toString(16)} size=${size} phys_addr=${physical.toString(16)}`;
    return this.line(where, `dma_map_phys: ${device} dir=TO_DEVICE ${where_} attrs=`);
  }

  dmaUnmap(where: Where, device: string, address: number, size: number): this {
    return this.line(
      where,
      `dma_unmap_phys: ${device} dir=TO_DEVICE dma_addr=${address.toString(16)} size=${size} attrs=`,
    );
  }

  dmaMapSg(where: Where, device: string, address: number, size: number, physical: readonly number[]): this {
    const list = physical.map((at) => hex(at, 1)).join(",");
    const counts = `nents=${physical.length}/${physical.length} ents=1/1`;
    const lists = `dma_addrs={${hex(address, 1)}} sizes={${hex(size, 1)}} phys_addrs={${list}}`;
    return this.line(where, `dma_map_sg: ${device} dir=FROM_DEVICE ${counts} ${lists} attrs=`);
  }

  dmaUnmapSg(where: Where, device: string, physical: readonly number[]): this {
    const list = physical.map((at) => hex(at, 1)).join(",");
    return this.line(where, `dma_unmap_sg: ${device} dir=FROM_DEVICE phys_addrs={${list}} attrs=`);
  }

  text(): string {
    return `${this.lines.join("\n")}\n`;
  }
}

export interface Where {
  task?: string;
  cpu?: number;
  flags?: string;
}
