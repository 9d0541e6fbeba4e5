import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { dmaAddress } from "../../src/engine/addresses.js";
import type { Reclaim } from "../../src/engine/page-table.js";
import { findStrategy } from "../../src/strategies/strategies.js";
import { Random } from "../support/random.js";
import { read } from "../trace/support.js";
import { encode, newReplay, type Operation, type Piece, unmap } from "./support.js";

const TRACES = ["vtd-vfio", "smmuv3-nvme"] as const;

interface Live {
  domain: number;
  iova: bigint;
  pieces: Piece[];
  length: bigint;
  /** Page numbers within the allocation that are still mapped. */
  gone: Set<bigint>;
}

function operationsOf(name: string): Operation[] {
  const text = gunzipSync(readFileSync(new URL(`../fixtures/traces/${name}.trace.gz`, import.meta.url)));
  return read(text, { device: "0000:01:00.0" }).operations;
}

function physicalAt(pieces: readonly Piece[], offset: bigint): bigint {
  let begin = 0n;
  for (const { physical, length } of pieces) {
    if (offset < begin + length) return physical + (offset - begin);
    begin += length;
  }
  throw new RangeError(`offset ${offset} is beyond the pieces`);
}

describe.each(TRACES)("%s, as recorded", (name) => {
  it.each(["vtdss", "x86_64", "vmsav8-4k"])(
    "%s: after every event a walk gives the trace's physical address, or a fault after the unmap",
    async (format) => {
      const replay = await newReplay({ strategy: findStrategy("as-recorded"), format });
      const random = new Random(7);
      const live = new Map<number, Live>();
      let checked = 0;
      for (const operation of operationsOf(name)) {
        replay.run(encode([operation]));
        const table = replay.table(operation.domain);
        if (!table) throw new Error("the operation left no table");
        if (operation.kind === "map") {
          const { domain, iova, pieces, length } = operation;
          live.set(operation.slot, { domain, iova, pieces, length, gone: new Set() });
          const offset = BigInt(random.below(Number(length)));
          const walk = table.walk(dmaAddress(iova + offset), { write: random.below(2) === 1 });
          expect(walk).toMatchObject({ ok: true, physical: physicalAt(pieces, offset) });
        } else {
          const mapping = live.get(operation.slot);
          if (!mapping) throw new Error("an unmap of nothing");
          const offset = operation.offset + BigInt(random.below(Number(operation.length)));
          expect(table.walk(dmaAddress(mapping.iova + offset))).toMatchObject({ ok: false, check: "not-present" });
          for (let at = operation.offset; at < operation.offset + operation.length; at += 4096n) mapping.gone.add(at);
          if (BigInt(mapping.gone.size) * 4096n === mapping.length) live.delete(operation.slot);
        }
        checked++;
      }
      expect(checked).toBeGreaterThan(4000);
      expect(replay.finish().failed).toBe(0);
    },
  );

  it.each<Reclaim>(["covered", "empty"])(
    "reclaim %s: at the end nothing remains of what was unmapped",
    async (reclaim) => {
      const replay = await newReplay({ strategy: findStrategy("as-recorded"), reclaim });
      const operations = operationsOf(name);
      replay.run(encode(operations));
      const live = new Map<number, { domain: number; length: bigint; gone: bigint }>();
      for (const operation of operations) {
        if (operation.kind === "map") {
          live.set(operation.slot, { domain: operation.domain, length: operation.length, gone: 0n });
        } else {
          const mapping = live.get(operation.slot);
          if (mapping) mapping.gone += operation.length;
          if (mapping && mapping.gone === mapping.length) live.delete(operation.slot);
        }
      }
      const domains = [...new Set(operations.map(({ domain }) => domain))];
      const mapped = (): bigint => {
        let bytes = 0n;
        for (const domain of domains) {
          for (const [size, count] of replay.table(domain)?.counters.leaves ?? []) bytes += size * BigInt(count);
        }
        return bytes;
      };
      const expected = [...live.values()].reduce((sum, { length, gone }) => sum + length - gone, 0n);
      expect(expected).toBeGreaterThan(0n);
      expect(mapped()).toBe(expected);

      // What was live at the end of the recording goes, too: whole mappings only, a partial one needs its own offsets.
      expect([...live.values()].every(({ gone }) => gone === 0n)).toBe(true);
      replay.run(encode([...live].map(([slot, { domain, length }]) => unmap(slot, 0n, length, domain))));
      expect(mapped()).toBe(0n);
      const pages = domains.reduce((sum, domain) => sum + (replay.table(domain)?.counters.tablePages ?? 0), 0);
      if (reclaim === "empty") expect(pages).toBe(domains.length);
      else expect(pages).toBeGreaterThan(domains.length);
    },
  );
});
