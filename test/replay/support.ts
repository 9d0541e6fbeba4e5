/** What the replay tests share: operations in plain numbers, and how they become the batches that a replay takes. */
import { Replay, type ReplayOptions } from "../../src/replay/replay.js";
import { BatchWriter, type OperationBatch } from "../../src/trace/batch.js";
import { newEngine } from "../support/engine.js";
import type { Operation, Piece } from "../trace/support.js";

export type { Operation, Piece };

export const KIB = 1024n;
export const MIB = 1024n * KIB;
export const GIB = 1024n * MIB;

const pages = (bytes: bigint): number => Number(bytes / 4096n);

export function encode(operations: readonly Operation[]): OperationBatch {
  const batches: OperationBatch[] = [];
  const writer = new BatchWriter((batch) => batches.push(batch), operations.length);
  for (const operation of operations) {
    const { domain, slot, length, line } = operation;
    writer.cpu = operation.cpu;
    writer.time = operation.time;
    if (operation.kind === "map") {
      writer.map(domain, slot, operation.pieces.length, pages(operation.iova), pages(length), line);
      for (const piece of operation.pieces) writer.piece(pages(piece.physical), pages(piece.length));
    } else {
      writer.unmap(domain, slot, pages(operation.offset), pages(length), line);
    }
  }
  writer.flush();
  return batches[0];
}

export function map(slot: number, pieces: readonly Piece[], iova = 0n, domain = 0): Operation {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0n);
  return { kind: "map", domain, slot, iova, length, line: 0, cpu: 0, time: 0, pieces: [...pieces] };
}

export function unmap(slot: number, offset: bigint, length: bigint, domain = 0): Operation {
  return { kind: "unmap", domain, slot, offset, length, line: 0, cpu: 0, time: 0 };
}

export async function newReplay(options: ReplayOptions): Promise<Replay> {
  return new Replay(await newEngine(), options);
}
