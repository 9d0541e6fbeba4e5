/** KVM maps a device's registers into a guest: it takes page frame numbers, which are no DMA addresses. */
import { MIB } from "../bits.js";
import { type MemoryRange, mapMemory, type OwnedRange, PfnAgreement } from "../dma/index.js";
import { mapImport, MmioBuffer } from "../dmabuf/index.js";
import { hex, physicalAddress } from "../engine/addresses.js";
import { findImporter } from "../importers/importers.js";
import { Machine, NOW } from "./machine.js";
import { Journal, type Scenario } from "./scenario.js";

const BAR = { kind: "memory", address: physicalAddress(0x90_0020_0000n), length: 6n * MIB } as const;
const GUEST_ADDRESS = 0xc000_0000n;
const NIC = "0000:02:00.0";

export const kvmPfn: Scenario = {
  name: "kvm-pfn",
  summary: "KVM gets private addresses; giving them to the DMA API is refused",
  async run(newEngine) {
    const machine = new Machine(await newEngine(), "Intel VT-d");
    const journal = new Journal();
    const nic = machine.add(NIC, 0x200);
    const agreement = new PfnAgreement("page frame numbers of VFIO and KVM", ["vfio", "kvm"]);
    const { dmaBuf } = new MmioBuffer({ node: { name: "0000:01:00.0", upstream: null }, ranges: [BAR], agreement });
    const wants = [{ type: "private" as const, agreement, party: "kvm" }];
    const attachment = dmaBuf.attachMatching("kvm", wants, { importerOps: { invalidateMappings: () => {} } });
    const ranges = dmaBuf.reservation.with(() => attachment.mapPrivate(NOW).segments);
    journal.note("KVM attaches, and is given private addresses", ranges.map(({ address }) => hex(address)).join(", "));
    const tables = mapImport({
      importer: findImporter("kvm"),
      party: { name: "kvm" },
      ranges,
      va: GUEST_ADDRESS,
      memory: "mmio",
    });
    journal.note(`KVM maps them at guest address ${hex(GUEST_ADDRESS)}`, `${tables.total} entries of the EPT`);
    const translation = tables.translate(GUEST_ADDRESS + 0x1234n);

    const [first] = ranges;
    const cast = first as OwnedRange as MemoryRange;
    const mapping = journal.attempt("a driver gives one to the DMA API", () =>
      mapMemory(nic.dma, NOW, cast, "bidirectional"),
    );
    const program = journal.attempt("a driver puts one into its device", () => nic.hardware.program(first));
    const fault = journal.access("it cheats with the number", nic.hardware.access(first.address));
    const forDevice = mapMemory(nic.dma, NOW, BAR, "bidirectional");
    const reverse = journal.attempt("KVM is given a DMA address", () =>
      mapImport({ importer: findImporter("kvm"), party: { name: "kvm" }, ranges: [forDevice], va: GUEST_ADDRESS }),
    );
    return {
      steps: journal.steps,
      claims: [
        {
          claim: "KVM maps the registers by page frame number, in pages of 2 MiB",
          holds: tables.total === 3 && "address" in translation && translation.address === BAR.address + 0x1234n,
        },
        { claim: "the DMA API refuses a private address", holds: mapping === "wrong-kind" },
        {
          claim: "so does the device, and the raw number faults",
          holds: program === "not-a-party" && !fault.access.ok,
        },
        { claim: "KVM refuses a DMA address", holds: reverse === "wrong-kind" },
      ],
    };
  },
};
