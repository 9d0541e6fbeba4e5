/**
 * A 100 MiB memory region: what the HCA must hold to translate it, with the IOVA that Linux chooses and with one that the
 * importer asked for (Gunthorpe, linux-rdma, 2024-11-05: "200K" and "only 16 bytes").
 */
import { GIB, MIB } from "../bits.js";
import { mapSg, type MemoryRange, rangesOf } from "../dma/index.js";
import { ImporterDomain, planImport } from "../dmabuf/index.js";
import { physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { must, type Hint } from "../importers/hint.js";
import type { Plan } from "../importers/importer.js";
import { findImporter } from "../importers/importers.js";
import { Random } from "../random.js";
import { agedMemory, findMemoryState } from "../workloads/ageing.js";
import { userMemory } from "../workloads/host-memory.js";
import { Machine, NOW, tableFigures } from "./machine.js";
import type { Scenario } from "./scenario.js";

const VA = 0x7f00_0000_1000n;
const LENGTH = 100n * MIB;
const PAGE = 4096n;
const MODULI = [2n * MIB, 16n * MIB, 64n * MIB, 128n * MIB, 256n * MIB, GIB];
const HCA = "0000:01:00.0";
/** An MTT entry. */
const ENTRY_BYTES = 8;

/** The region's memory: transparent huge pages of a machine that has booted not long ago, and what is left at either end. */
function pinnedMemory(): MemoryRange[] {
  const memory = agedMemory(2 ** 17, findMemoryState("fresh"), new Random(1));
  const { runs } = userMemory(memory, Number(VA / PAGE), Number(LENGTH / PAGE));
  return Array.from({ length: runs.count }, (_, run) => ({
    kind: "memory",
    address: physicalAddress(BigInt(runs.start(run)) * PAGE),
    length: BigInt(runs.length(run)) * PAGE,
  }));
}

interface Row {
  readonly [key: string]: string | number | null;
  readonly mttBytes: number;
  readonly entries: number;
}

function row(iova: string, congruent: number | null, plan: Plan, table: Parameters<typeof tableFigures>[0]): Row {
  const { leaves, tableBytes } = tableFigures(table);
  const page = Number(plan.leaves[0].size);
  return { iova, congruent, page, entries: plan.total, mttBytes: plan.total * ENTRY_BYTES, leaves, tableBytes };
}

function withLinux(engine: Engine, memory: readonly MemoryRange[]): Row {
  const machine = new Machine(engine, "Intel VT-d");
  const { dma, domain } = machine.add(HCA, 0x100, { dmaMask: (1n << 64n) - 1n, maxSegmentSize: 2n * GIB });
  const entries = memory.map(({ address, length }) => ({ physical: address, length }));
  const { segments } = mapSg(dma, NOW, entries, "bidirectional");
  const ranges = rangesOf(dma, segments);
  const party = { name: HCA, device: dma };
  const plan = planImport({ importer: findImporter("mlx5"), party, ranges, va: VA });
  return row("linux", null, plan, domain.dma.table);
}

function withHint(
  engine: Engine,
  memory: readonly MemoryRange[],
  name: string,
  modulus: bigint | undefined,
  hint: Hint,
): Row {
  const machine = new Machine(engine, "Intel VT-d");
  const { group } = machine.add(HCA, 0x100);
  const domain = machine.createDomain("the HCA's own");
  group.claimDmaOwner(domain);
  group.attach(domain);
  const { segments } = new ImporterDomain(domain).map(memory, hint, [HCA]);
  const plan = planImport({ importer: findImporter("mlx5"), party: { name: HCA }, ranges: segments, va: VA });
  return row(name, modulus === undefined ? null : Number(modulus), plan, domain.table);
}

export const mr100mb: Scenario = {
  name: "mr-100mb",
  summary: "what a 100 MiB RDMA region costs the HCA, with Linux's IOVA and with a hint",
  async run(newEngine) {
    const memory = pinnedMemory();
    const hint = findImporter("mlx5").hint({ va: VA, length: LENGTH });
    const linux = withLinux(await newEngine(), memory);
    const asked = withHint(await newEngine(), memory, "the HCA's hint", hint.congruentTo?.value.modulus, hint);
    const rows = [linux, asked];
    for (const modulus of MODULI) {
      // The bit above differs, so that the IOVA is not more congruent by chance.
      const congruentTo = must({ address: VA ^ modulus, modulus: 2n * modulus }, "as the table says");
      rows.push(withHint(await newEngine(), memory, "congruent to VA", modulus, { ...hint, congruentTo }));
    }
    const wide = rows.slice(2).filter((_, index) => MODULI[index] >= 128n * MIB);
    return {
      table: {
        columns: [
          { key: "iova", title: "IOVA chosen by", kind: "text" },
          { key: "congruent", title: "modulo", kind: "size" },
          { key: "page", title: "MTT page", kind: "size" },
          { key: "entries", title: "MTT entries", kind: "count" },
          { key: "mttBytes", title: "MTT bytes", kind: "count" },
          { key: "leaves", title: "IOMMU leaves", kind: "count" },
          { key: "tableBytes", title: "IOMMU tables", kind: "bytes" },
        ],
        rows,
        note:
          "modulo: how far IOVA and virtual address agree, at least for the hint, exactly below it. IOMMU: VT-d, 4 levels; " +
          "the memory is of transparent huge pages.",
      },
      steps: [],
      claims: [
        { claim: "Linux's IOVA costs the HCA 204,800 bytes of MTT", holds: linux.mttBytes === 204_800 },
        {
          claim: "an IOVA congruent to the VA modulo 128 MiB or more costs 8 to 16 bytes",
          holds: [asked, ...wide].every(({ mttBytes }) => mttBytes >= 8 && mttBytes <= 16),
        },
      ],
    };
  },
};
