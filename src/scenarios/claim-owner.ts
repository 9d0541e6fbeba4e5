/** A driver takes its device from the DMA API and drives a domain of its own (iommu_group_claim_dma_owner()). */
import { KIB } from "../bits.js";
import { mapMemory } from "../dma/index.js";
import { hex, physicalAddress, privateAddress } from "../engine/addresses.js";
import { Machine, NOW } from "./machine.js";
import { Journal, type Scenario } from "./scenario.js";

const NAME = "0000:01:00.0";
const MEMORY = { kind: "memory", address: physicalAddress(0x8_0000_0000n), length: 64n * KIB } as const;
const READ_WRITE = { read: true, write: true };

export const claimOwner: Scenario = {
  name: "claim-owner",
  summary: "a driver drives its own domain; a second claim and the DMA API fail meanwhile",
  async run(newEngine) {
    const machine = new Machine(await newEngine(), "Intel VT-d");
    const journal = new Journal();
    const { group, hardware, dma, domain } = machine.add(NAME, 0x100);
    const owner = { name: "vfio" };

    group.useDefaultDomain();
    const inUse = journal.attempt("claim the device while a driver of the DMA API is bound", () =>
      group.claimDmaOwner(owner),
    );
    group.unuseDefaultDomain();
    const claimed = journal.attempt("unbind that driver, and claim again", () => group.claimDmaOwner(owner));
    const own = machine.createDomain("the driver's own");
    group.attach(own);
    const range = own.mapRange(privateAddress(0x10_0000n), MEMORY, READ_WRITE, [NAME]);
    const works = journal.access("the device reads what the driver mapped", hardware.program(range).access());

    const second = journal.attempt("a second claim", () => group.claimDmaOwner({}));
    const bind = journal.attempt("bind a driver of the DMA API", () => group.useDefaultDomain());
    const mapped = mapMemory(dma, NOW, MEMORY, "bidirectional");
    journal.note(
      "dma_map_phys() nevertheless, which Linux does not check",
      `DMA address ${hex(mapped.address)} in domain "${domain.name}"`,
    );
    const program = journal.attempt("put it into the device", () => hardware.program(mapped));
    const fault = journal.access("the driver cheats with the number", hardware.access(mapped.address));

    group.detach();
    group.releaseDmaOwner();
    const bindAgain = journal.attempt("release the device, and bind the driver", () => group.useDefaultDomain());
    const again = journal.access("the device reads by its DMA address", hardware.program(mapped).access());
    return {
      steps: journal.steps,
      claims: [
        { claim: "a device in use cannot be claimed: EPERM", holds: inUse === "EPERM" },
        { claim: "an idle one can, and its driver's domain works", holds: claimed === null && works.touches === "own" },
        { claim: "a second claim fails: EPERM", holds: second === "EPERM" },
        { claim: "a driver of the DMA API cannot be bound: EBUSY", holds: bind === "EBUSY" },
        {
          claim: "a DMA address of the default domain is refused meanwhile, and faults when used all the same",
          holds: program === "not-attached" && !fault.access.ok,
        },
        { claim: "after the release it works", holds: bindAgain === null && again.touches === "own" },
      ],
    };
  },
};
