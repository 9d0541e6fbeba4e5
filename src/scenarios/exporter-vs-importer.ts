/**
 * The same buffer shared from a GPU to a NIC, from a NIC to a GPU and from one GPU to another: mapped by the exporter, who
 * knows nothing of the importer's tables, and by the importer with its own hint.
 */
import { GIB, KIB, MIB } from "../bits.js";
import { ImporterDomain, mapImport, MmioBuffer, type DmaBuf, type PciNode, VramBuffer } from "../dmabuf/index.js";
import type { DmaRange, MemoryRange, PrivateRange } from "../dma/index.js";
import { physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { findImporter, type AnyImporter } from "../importers/importers.js";
import { Vram } from "../workloads/device-memory.js";
import { IOTLB_ENTRIES, Machine, NOW, tableFigures, UNITS, type UnitName } from "./machine.js";
import type { Scenario } from "./scenario.js";

const LENGTH = 96n * MIB + 64n * KIB;

/** Two root ports: what passes between the devices goes through the host bridge, and so through the IOMMU. */
const EXPORTING: PciNode = { name: "0000:01:00.0", upstream: { name: "0000:00:01.0", upstream: null } };
const IMPORTING: PciNode = { name: "0000:02:00.0", upstream: { name: "0000:00:02.0", upstream: null } };
const IMPORTING_SID = 0x200;

/** VRAM of 16 GiB behind its BAR, and a NIC's BAR of 256 MiB, of which a page of registers comes first. */
const VRAM_PAGE = 2 ** 28;
const VRAM_PAGES = 2 ** 22;
const NIC_BAR = 0x90_0000_0000n;

interface Sharing {
  readonly name: string;
  readonly importer: AnyImporter;
  /** The importer's virtual address. */
  readonly va: bigint;
  share(): DmaBuf;
}

function vramBuffer(): DmaBuf {
  return new VramBuffer(LENGTH, { node: EXPORTING, vram: new Vram(VRAM_PAGE, VRAM_PAGES) }).dmaBuf;
}

function nicBuffer(): DmaBuf {
  const address = physicalAddress(NIC_BAR + 64n * KIB);
  return new MmioBuffer({ node: EXPORTING, ranges: [{ kind: "memory", address, length: LENGTH }] }).dmaBuf;
}

const SHARINGS: readonly Sharing[] = [
  // GPU memory is mapped for the process on a boundary of 2 MiB, and so is the region that names it.
  { name: "GPU to NIC", importer: findImporter("mlx5"), va: 0x7f12_3460_0000n, share: vramBuffer },
  // A part of a larger reservation, 64 KiB behind a boundary as the memory itself.
  { name: "NIC to GPU", importer: findImporter("xe"), va: 0x1_0001_0000n, share: nicBuffer },
  { name: "GPU to GPU", importer: findImporter("xe"), va: 0x1_0000_0000n, share: vramBuffer },
];

interface Row {
  readonly [key: string]: string | number;
  readonly sharing: string;
  readonly entries: number;
  readonly leaves: number;
}

const IMPORTER_OPS = { allowPeer2peer: true, invalidateMappings: () => {} };

/** As 7.2: dma_buf_map_attachment(). */
function byExporter(machine: Machine, { share }: Sharing) {
  const { dma, domain } = machine.add(IMPORTING.name, IMPORTING_SID, {
    dmaMask: (1n << 46n) - 1n,
    maxSegmentSize: 2n * GIB,
  });
  const attachment = share().attach(dma, { importerOps: IMPORTER_OPS, node: IMPORTING });
  const ranges: readonly DmaRange[] = attachment.mapUnlocked(NOW, "bidirectional").segments;
  return { ranges, table: domain.dma.table, party: { name: IMPORTING.name, device: dma } };
}

/** The importer is given the physical memory and maps it into a domain of its own. */
function byImporter(machine: Machine, { share, importer, va }: Sharing) {
  const { group } = machine.add(IMPORTING.name, IMPORTING_SID);
  const domain = machine.createDomain("the importer's own");
  group.claimDmaOwner(domain);
  group.attach(domain);
  const hint = (buffer: { length: bigint }) => importer.hint({ va, length: buffer.length });
  const wants = [{ type: "physical-address-list" as const, hint }];
  const buffer = share();
  const attachment = buffer.attachMatching(IMPORTING.name, wants, { importerOps: IMPORTER_OPS, node: IMPORTING });
  const memory: readonly MemoryRange[] = buffer.reservation.with(() => attachment.mapPhysical(NOW).segments);
  const length = memory.reduce((sum, range) => sum + range.length, 0n);
  const own = new ImporterDomain(domain, (1n << BigInt(importer.addressBits)) - 1n);
  const agreed = attachment.match?.want.hint ?? hint;
  const ranges: readonly PrivateRange[] = own.map(memory, agreed({ length }), [IMPORTING.name]).segments;
  return { ranges, table: domain.table, party: { name: IMPORTING.name } };
}

function measure(engine: Engine, unit: UnitName, sharing: Sharing, mappedBy: "exporter" | "importer"): Row {
  const machine = new Machine(engine, unit);
  const { ranges, table, party } = (mappedBy === "exporter" ? byExporter : byImporter)(machine, sharing);
  const { importer, va, name } = sharing;
  const { total, tableBytes } = mapImport({ importer, party, ranges, va, memory: "mmio" });
  const iommu = tableFigures(table);
  return {
    unit,
    sharing: name,
    importer: importer.name,
    mappedBy,
    entries: total,
    importerTableBytes: tableBytes,
    leaves: iommu.leaves,
    iommuTableBytes: iommu.tableBytes,
    reach: iommu.reach,
  };
}

export const exporterVsImporter: Scenario = {
  name: "exporter-vs-importer",
  summary: "a buffer shared by GPUs and a NIC: mapped by the exporter or by the importer",
  async run(newEngine) {
    const pairs: [exporter: Row, importer: Row][] = [];
    for (const unit of UNITS) {
      for (const sharing of SHARINGS) {
        const exporter = measure(await newEngine(), unit, sharing, "exporter");
        pairs.push([exporter, measure(await newEngine(), unit, sharing, "importer")]);
      }
    }
    const gains = pairs.filter(([exporter, importer]) => importer.entries < exporter.entries);
    return {
      table: {
        columns: [
          { key: "unit", title: "unit", kind: "text" },
          { key: "sharing", title: "shared", kind: "text" },
          { key: "mappedBy", title: "mapped by", kind: "text" },
          { key: "entries", title: "entries", kind: "count" },
          { key: "importerTableBytes", title: "tables", kind: "bytes" },
          { key: "leaves", title: "leaves", kind: "count" },
          { key: "iommuTableBytes", title: "IOMMU tables", kind: "bytes" },
          { key: "reach", title: "IOTLB reach", kind: "bytes" },
        ],
        rows: pairs.flat(),
        note:
          "entries, tables: the importer's own, an mlx5 memory region or Xe page tables. leaves, IOMMU tables: its IOMMU's. " +
          `IOTLB reach: what ${IOTLB_ENTRIES} entries of the mean leaf cover.`,
      },
      steps: [],
      claims: [
        {
          claim: "with its hint no importer needs more entries",
          holds: pairs.every(([exporter, importer]) => importer.entries <= exporter.entries),
        },
        {
          claim: "GPU to NIC and NIC to GPU need fewer, on both units",
          holds: gains.length === 4 && gains.every(([{ sharing }]) => sharing !== "GPU to GPU"),
        },
        {
          claim: "the IOMMU does not pay for it: no table has more leaves",
          holds: pairs.every(([exporter, importer]) => importer.leaves <= exporter.leaves),
        },
      ],
    };
  },
};
