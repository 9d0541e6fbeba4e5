/** What the replay tests share: operations in plain numbers, and how they become the batches that a replay takes. */
import {
  OPERATION_ADDRESS,
  OPERATION_BYTES,
  OPERATION_DOMAIN,
  OPERATION_KIND,
  OPERATION_LENGTH,
  OPERATION_MAP,
  OPERATION_PIECES,
  OPERATION_SLOT,
  OPERATION_UNMAP,
  PIECE_BYTES,
  PIECE_LENGTH,
  PIECE_PHYSICAL,
} from "../../assembly/layout.js";
import { Replay, type ReplayOptions } from "../../src/replay/replay.js";
import type { OperationBatch } from "../../src/trace/batch.js";
import { newEngine } from "../support/engine.js";
import type { Operation, Piece } from "../trace/support.js";

export type { Operation, Piece };

export const KIB = 1024n;
export const MIB = 1024n * KIB;
export const GIB = 1024n * MIB;

export function encode(operations: readonly Operation[]): OperationBatch {
  const pieces = operations.flatMap((operation) => (operation.kind === "map" ? operation.pieces : []));
  const operationBytes = new Uint8Array(operations.length * OPERATION_BYTES);
  const pieceBytes = new Uint8Array(pieces.length * PIECE_BYTES);
  const view = new DataView(operationBytes.buffer);
  operations.forEach((operation, index) => {
    const at = index * OPERATION_BYTES;
    const isMap = operation.kind === "map";
    view.setUint32(at + OPERATION_KIND, isMap ? OPERATION_MAP : OPERATION_UNMAP, true);
    view.setUint32(at + OPERATION_DOMAIN, operation.domain, true);
    view.setUint32(at + OPERATION_SLOT, operation.slot, true);
    view.setUint32(at + OPERATION_PIECES, isMap ? operation.pieces.length : 0, true);
    view.setBigUint64(at + OPERATION_ADDRESS, isMap ? operation.iova : operation.offset, true);
    view.setBigUint64(at + OPERATION_LENGTH, operation.length, true);
  });
  const pieceView = new DataView(pieceBytes.buffer);
  pieces.forEach(({ physical, length }, index) => {
    pieceView.setBigUint64(index * PIECE_BYTES + PIECE_PHYSICAL, physical, true);
    pieceView.setBigUint64(index * PIECE_BYTES + PIECE_LENGTH, length, true);
  });
  return {
    operations: operationBytes,
    count: operations.length,
    pieces: pieceBytes,
    pieceCount: pieces.length,
    lines: new Float64Array(operations.length),
  };
}

export function map(slot: number, pieces: readonly Piece[], iova = 0n, domain = 0): Operation {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0n);
  return { kind: "map", domain, slot, iova, length, line: 0, pieces: [...pieces] };
}

export function unmap(slot: number, offset: bigint, length: bigint, domain = 0): Operation {
  return { kind: "unmap", domain, slot, offset, length, line: 0 };
}

export async function newReplay(options: ReplayOptions): Promise<Replay> {
  return new Replay(await newEngine(), options);
}
