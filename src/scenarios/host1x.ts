/**
 * Tegra's host1x and a client of it share a domain, and use one mapping by one private address. The same number means
 * nothing to an RDMA device, or something else.
 */
import { KIB } from "../bits.js";
import { mapMemory } from "../dma/index.js";
import { ImporterDomain } from "../dmabuf/index.js";
import { hex, physicalAddress } from "../engine/addresses.js";
import { addressBits } from "../importers/hint.js";
import { Machine, NOW } from "./machine.js";
import { Journal, type Scenario } from "./scenario.js";

const HOST1X = "13e00000.host1x";
const VIC = "15340000.vic";
const HCA = "0000:01:00.0";
const NEIGHBOUR = "0000:01:00.1";
const LENGTH = 64n * KIB;
const READ_WRITE = { read: true, write: true };
/** Pages of 4 KiB, anywhere in 32 bits. */
const HINT = { pageSizes: 4n * KIB, addressLimit: addressBits(32) };

export const host1xScenario: Scenario = {
  name: "host1x",
  summary: "two devices share a domain; an RDMA device is given its private address",
  async run(newEngine) {
    const machine = new Machine(await newEngine(), "Arm SMMUv3");
    const journal = new Journal();
    const [host1x, vic] = [machine.add(HOST1X, 0x10), machine.add(VIC, 0x11)];
    const hca = machine.add(HCA, 0x100);
    const neighbour = machine.addTo(hca, NEIGHBOUR, 0x101);
    const shared = machine.createDomain("shared by host1x and VIC");
    for (const { group } of [host1x, vic]) group.attach(shared);

    const memory = { kind: "memory", address: physicalAddress(0x8_0000_0000n), length: LENGTH } as const;
    const { segments } = new ImporterDomain(shared).map([memory], HINT, [HOST1X, VIC], READ_WRITE);
    const [range] = segments;
    const written = shared.table.counters.entriesWritten;
    journal.note(`map ${hex(LENGTH)} bytes of memory once`, `private address ${hex(range.address)}`);
    const fromHost1x = journal.access("host1x reads there", host1x.hardware.program(range).access(0n));
    const fromVic = journal.access("VIC writes there", vic.hardware.program(range).access(0n, true));

    const code = journal.attempt("give the private address to the RDMA device", () => hca.hardware.program(range));
    const fault = journal.access("its driver cheats with the number", hca.hardware.access(range.address));

    const other = { kind: "memory", address: physicalAddress(0x9_0000_0000n), length: LENGTH } as const;
    const victim = mapMemory(neighbour.dma, NOW, other, "bidirectional");
    journal.note(`the DMA API maps a buffer for ${NEIGHBOUR}, of the same group`, `DMA address ${hex(victim.address)}`);
    const hit = journal.access("its driver cheats again", hca.hardware.access(range.address, true));
    return {
      steps: journal.steps,
      claims: [
        {
          claim: "both devices reach the buffer by one address, and the second cost no entry",
          holds:
            fromHost1x.touches === "own" &&
            fromVic.touches === "own" &&
            fromVic.access.physical === memory.address &&
            shared.table.counters.entriesWritten === written,
        },
        { claim: "the API refuses it to the RDMA device", holds: code === "not-a-party" },
        {
          claim: "the raw number faults, and the SMMU records it",
          holds: !fault.access.ok && fault.access.record?.InputAddr === hex(range.address),
        },
        {
          claim: "once somebody else's buffer is mapped at the number, it is written over and nothing faults",
          holds: hit.touches === "foreign" && hit.access.physical === other.address,
        },
      ],
    };
  },
};
