/** The IOVA spaces of a trace: one a group, with what is reserved in each and how its frees are flushed. */
import type { GroupMember } from "./groups.js";
import type { LinuxIovaFactory, LinuxIovaOptions } from "./linux-iova.js";
import { type IoMemory, type PageRange, parsePciAddress, windowsAbove, X86_INTERRUPT_RANGE } from "./reserved.js";
import type { AddressLimit, SpaceModel } from "./space.js";

export type Flush = "strict" | "lazy" | "lazy-single";

/** What is known of the machine. */
export interface Machine {
  readonly factory: LinuxIovaFactory;
  readonly cpus: number;
  /** How allocations are aligned, as Linux does by default. */
  readonly alignment?: LinuxIovaOptions["alignment"];
  readonly groups: readonly GroupMember[];
  /** null when there is no /proc/iomem text: an x86 machine without PCI windows. */
  readonly ioMemory: IoMemory | null;
  /** Further reserved ranges. */
  readonly reserved: readonly PageRange[];
  /** Bits of the DMA mask: of all devices (key null), of one. 64 when neither is there. */
  readonly masks: ReadonlyMap<string | null, number>;
  /** How frees are flushed where the groups do not tell. */
  readonly flush: Flush;
}

export interface SpaceDescription {
  /** The group's devices that the trace names, or the device. */
  readonly name: string;
  readonly flush: Flush;
  readonly model: SpaceModel;
}

const PAGE_SHIFT = 12;

/** The key of a device's space: devices of a group share one. */
export function spaceKey(machine: Machine, device: string): string {
  const member = machine.groups.find((other) => other.device === device);
  return member === undefined ? device : `group ${member.group}`;
}

/** How frees in the space of a device are flushed; the types are those of a group's `type` in sysfs. */
export function flushOf(machine: Machine, device: string): Flush {
  const type = machine.groups.find((other) => other.device === device)?.type;
  if (type === "DMA") return "strict";
  if (type === "DMA-FQ") return machine.flush === "lazy-single" ? "lazy-single" : "lazy";
  return machine.flush;
}

export function describeSpace(machine: Machine, device: string): SpaceDescription {
  const { cpus, alignment, ioMemory, masks } = machine;
  const flush = flushOf(machine, device);
  const x86 = ioMemory === null || ioMemory.x86;
  const reserved = [
    ...(x86 ? [X86_INTERRUPT_RANGE] : []),
    ...windowsAbove(device, ioMemory?.windows ?? []),
    ...machine.reserved,
  ];
  const limits = new Map<string | null, AddressLimit>();
  const limitOf = (asking: string | null): AddressLimit => {
    // Only devices that no event names ask without a name; they are this one.
    const name = asking ?? device;
    let limit = limits.get(name);
    if (limit === undefined) {
      const bits = masks.get(name) ?? masks.get(null) ?? 64;
      limit = { limitPfn: 2 ** (bits - PAGE_SHIFT) - 1, below4GFirst: parsePciAddress(name) !== null };
      limits.set(name, limit);
    }
    return limit;
  };
  const options = { cpus, flush, ...(alignment === undefined ? {} : { alignment }) };
  return { name: device, flush, model: { factory: machine.factory, options, reserved, limitOf } };
}
