/** A GPU evicts a shared buffer to host memory: the importer must unmap and map anew; a device that does not stop is caught. */
import { GIB, MIB } from "../bits.js";
import type { DmaContext, DmaRange } from "../dma/index.js";
import { type Attachment, type Mapped, VramBuffer } from "../dmabuf/index.js";
import { hex } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { Random } from "../random.js";
import { agedMemory, findMemoryState } from "../workloads/ageing.js";
import { Vram } from "../workloads/device-memory.js";
import { Machine, NOW } from "./machine.js";
import { Journal, type Scenario } from "./scenario.js";

const GPU = { name: "0000:01:00.0", upstream: { name: "0000:00:01.0", upstream: null } };
const NIC = { name: "0000:02:00.0", upstream: { name: "0000:00:02.0", upstream: null } };
/** Long after the flush queue's timer. */
const LATER: DmaContext = { cpu: 0, now: 50_000_000 };

function moveOn(engine: Engine, flush: "strict" | "lazy", journal: Journal) {
  const machine = new Machine(engine, "Intel VT-d");
  const { hardware, dma } = machine.add(NIC.name, 0x200, { maxSegmentSize: 2n * GIB }, { flush });
  const buffer = new VramBuffer(4n * MIB, {
    node: GPU,
    vram: new Vram(2 ** 28, 2 ** 18),
    system: agedMemory(2 ** 14, findMemoryState("aged"), new Random(1)),
  });
  const { dmaBuf } = buffer;
  const invalidateMappings = (of: Attachment): void => {
    for (const mapped of of.mapped) of.unmap(NOW, mapped);
    journal.note("the importer is told, and unmaps", `${of.mapped.length} mappings left`);
  };
  const attachment = dmaBuf.attach(dma, { importerOps: { allowPeer2peer: true, invalidateMappings }, node: NIC });
  const first = (mapped: Mapped): DmaRange => mapped.segments[0] as DmaRange;

  const before = first(attachment.mapUnlocked(NOW, "bidirectional"));
  journal.note(`${flush} invalidation: the importer maps VRAM`, `DMA address ${hex(before.address)}`);
  const old = hardware.program(before);
  const inVram = journal.access("the device reads", old.access());
  dmaBuf.reservation.with(() => {
    buffer.move("system");
    dmaBuf.reservation.wait("kernel");
  });
  const late = journal.access("the device did not stop", old.access());
  const refused = journal.attempt("put the old address into the device", () => hardware.program(before));
  const after = first(attachment.mapUnlocked(LATER, "bidirectional"));
  journal.note("the importer maps host memory", `DMA address ${hex(after.address)}`);
  const inSystem = journal.access("the device reads", hardware.program(after).access());
  return { inVram, late, refused, inSystem, blocks: buffer.blocks };
}

export const move: Scenario = {
  name: "move",
  summary: "a buffer moves, its importer maps anew; a device that did not stop is caught",
  async run(newEngine) {
    const journal = new Journal();
    const strict = moveOn(await newEngine(), "strict", journal);
    const lazy = moveOn(await newEngine(), "lazy", journal);
    const both = [strict, lazy];
    return {
      steps: journal.steps,
      claims: [
        {
          claim: "the importer reaches the buffer before and after",
          holds: both.every(
            ({ inVram, inSystem, blocks }) =>
              inVram.touches === "own" && inSystem.touches === "own" && inSystem.access.physical === blocks[0].address,
          ),
        },
        {
          claim: "with strict invalidation the old address faults, and the unit records it",
          holds: caught(strict.late),
        },
        { claim: "with lazy invalidation it still reaches VRAM, by a stale translation", holds: stale(lazy) },
        { claim: "the API refuses the old address", holds: both.every(({ refused }) => refused === "not-mapped") },
      ],
    };
  },
};

type Outcome = ReturnType<typeof moveOn>;

function caught({ access }: Outcome["late"]): boolean {
  return !access.ok && access.record !== null;
}

function stale({ late, inVram }: Outcome): boolean {
  return late.touches === "stale" && inVram.access.ok && late.access.physical === inVram.access.physical;
}
