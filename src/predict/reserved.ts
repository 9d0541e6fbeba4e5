/** Ranges that Linux takes out of every IOVA space before the first allocation. */
import { PredictError } from "./errors.js";

/** Page frames, both ends included. */
export interface PageRange {
  readonly first: number;
  readonly last: number;
}

/** A memory window of a PCI host bridge (iova_reserve_pci_windows). */
export interface HostBridgeWindow extends PageRange {
  /** PCI segment and root bus; null when the text does not tell (device tree): the window is everybody's. */
  readonly rootBus: { readonly segment: number; readonly bus: number } | null;
}

/** What a /proc/iomem text tells. */
export interface IoMemory {
  readonly windows: readonly HostBridgeWindow[];
  /** There is an I/O APIC: interrupts are written to 0xfee00000. */
  readonly x86: boolean;
}

/** Interrupt range of x86: Intel SDM volume 3, 12.11.1, and IOMMU_RESV_MSI of the VT-d and AMD drivers. */
export const X86_INTERRUPT_RANGE: PageRange = { first: 0xfee00, last: 0xfeeff };

const LINE = /^( *)([0-9a-f]+)-([0-9a-f]+) : (.*)$/;
const ROOT_BUS = /^PCI Bus ([0-9a-f]{4,}):([0-9a-f]{2})$/;
const DEVICE_TREE_BRIDGE = /^pcie?@/;
const PAGE_BYTES = 4096n;

/**
 * Reads a /proc/iomem text. A host bridge's windows are the bus lines that are within no other bus line.
 * @throws PredictError `iomem` for text of another kind, or whose addresses are hidden (read without privileges)
 */
export function parseIoMemory(text: string, file: string): IoMemory {
  const windows: HostBridgeWindow[] = [];
  let x86 = false;
  let hidden = true;
  /** Indentation of the bus line that the current line may be within. */
  let within = Number.POSITIVE_INFINITY;
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const found = LINE.exec(line);
    if (found === null) throw new PredictError("iomem", "not a line of /proc/iomem", { file, line: index + 1 });
    const depth = found[1].length;
    const first = BigInt(`0x${found[2]}`);
    const last = BigInt(`0x${found[3]}`);
    const name = found[4];
    if (last > 0n) hidden = false;
    if (/^IOAPIC\b/.test(name)) x86 = true;
    if (depth > within) continue;
    within = Number.POSITIVE_INFINITY;
    const bus = ROOT_BUS.exec(name);
    if (bus === null && !DEVICE_TREE_BRIDGE.test(name)) continue;
    within = depth;
    windows.push({
      first: Number(first / PAGE_BYTES),
      last: Number(last / PAGE_BYTES),
      rootBus: bus === null ? null : { segment: Number.parseInt(bus[1], 16), bus: Number.parseInt(bus[2], 16) },
    });
  }
  if (hidden) throw new PredictError("iomem", "no addresses: /proc/iomem must be read as root", { file });
  return { windows, x86 };
}

/** The windows of the host bridge above a device: the one with the highest root bus that is not above the device's. */
export function windowsAbove(device: string | null, windows: readonly HostBridgeWindow[]): readonly PageRange[] {
  const pci = device === null ? null : parsePciAddress(device);
  const roots = windows.flatMap(({ rootBus }) => (rootBus === null ? [] : [rootBus]));
  const above = roots
    .filter(({ segment, bus }) => pci === null || (segment === pci.segment && bus <= pci.bus))
    .reduce((highest, { bus }) => Math.max(highest, bus), -1);
  return windows.filter(
    ({ rootBus }) =>
      rootBus === null || pci === null || (rootBus.segment === pci.segment && (above < 0 || rootBus.bus === above)),
  );
}

/** Segment and bus of `DDDD:BB:DD.F`; null for what is no PCI device. */
export function parsePciAddress(device: string): { segment: number; bus: number } | null {
  const found = /^([0-9a-f]{4,}):([0-9a-f]{2}):[01][0-9a-f]\.[0-7]$/.exec(device);
  return found === null ? null : { segment: Number.parseInt(found[1], 16), bus: Number.parseInt(found[2], 16) };
}
