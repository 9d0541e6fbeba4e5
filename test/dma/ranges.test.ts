/** Addresses that know for whom they are valid. */
import { expect, test } from "vitest";
import {
  type AddressMisuse,
  AddressMisuseError,
  DmaDevice,
  describeRange,
  expectDma,
  expectMemory,
  expectPrivate,
  type MemoryRange,
  mapMemory,
  type OwnedRange,
  PfnAgreement,
  type PrivateRange,
  unmapMemory,
} from "../../src/dma/index.js";
import { privateAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { addDomain, CONTEXT, makeMachine, misuses, physical, stateOf } from "./support.js";

const engine = await newEngine();
const machine = makeMachine(engine, { domain: { name: "of nvme0" } });
const { device } = machine;
const sibling = new DmaDevice(machine.domain, { name: "nvme1" });
const stranger = addDomain(machine.host, engine.createTable("vtdss"), {
  device: { name: "eth0" },
  domain: { name: "of eth0" },
}).device;

const MEMORY: MemoryRange = { kind: "memory", address: physical(0x1234_5000n), length: 0x3000n };
const AGREEMENT = new PfnAgreement("vfio and kvm", ["vfio", "kvm"]);
const PRIVATE: PrivateRange = {
  kind: "private",
  address: privateAddress(0x1234_5000n),
  length: 0x3000n,
  agreement: AGREEMENT,
};

function misused(work: () => unknown): AddressMisuseError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(AddressMisuseError);
    return error as AddressMisuseError;
  }
  throw new Error("nothing was refused");
}

test("mapping and unmapping: as the DMA API does, for the device that it was mapped for", () => {
  const before = stateOf(machine);
  const range = mapMemory(device, CONTEXT, MEMORY, "bidirectional");
  expect(range).toEqual({ kind: "dma", address: range.address, length: 0x3000n, device, busAddress: false });
  expect(machine.table.iovaToPhys(range.address)).toBe(MEMORY.address);
  unmapMemory(device, CONTEXT, range, "bidirectional");
  expect(stateOf(machine)).toEqual(before);
  misuses(machine, "not-allocated", () => unmapMemory(device, CONTEXT, range, "bidirectional"));
});

const DMA = mapMemory(device, CONTEXT, MEMORY, "bidirectional");

test.each<[string, AddressMisuse | null, () => OwnedRange]>([
  ["a DMA address of the device", null, () => expectDma(DMA, device, "try")],
  ["of a device in the same domain", "foreign-device", () => expectDma(DMA, sibling, "try")],
  ["of a device in another domain", "foreign-device", () => expectDma(DMA, stranger, "try")],
  ["a private address as one of DMA", "wrong-kind", () => expectDma(PRIVATE, device, "try")],
  ["memory as a DMA address", "wrong-kind", () => expectDma(MEMORY, device, "try")],
  ["a private address of a party", null, () => expectPrivate(PRIVATE, "kvm", "try")],
  ["of an agreement of others", "not-a-party", () => expectPrivate(PRIVATE, "nvme0", "try")],
  ["a DMA address as a private one", "wrong-kind", () => expectPrivate(DMA, "kvm", "try")],
  ["memory as a private address", "wrong-kind", () => expectPrivate(MEMORY, "kvm", "try")],
  ["memory", null, () => expectMemory(MEMORY, "try")],
  ["a DMA address as memory", "wrong-kind", () => expectMemory(DMA, "try")],
  ["a private address as memory", "wrong-kind", () => expectMemory(PRIVATE, "try")],
])("%s: %s", (_what, code, work) => {
  if (code === null) work();
  else expect(misused(work).code).toBe(code);
});

test("a cast does not help at run time, the error names both sides, and nothing has changed", () => {
  const before = stateOf(machine);
  for (const range of [PRIVATE, DMA] as OwnedRange[]) {
    const error = misused(() => mapMemory(device, CONTEXT, range as MemoryRange, "bidirectional"));
    expect([error.code, error.given, error.wanted]).toEqual(["wrong-kind", describeRange(range), "a physical address"]);
  }
  const error = misused(() => unmapMemory(sibling, CONTEXT, DMA, "bidirectional"));
  expect(error.message).toContain(`DMA address 0x${DMA.address.toString(16)} of nvme0 in domain "of nvme0"`);
  expect(error.message).toContain('wanted a DMA address of nvme1 in domain "of nvme0"');
  expect(misused(() => expectPrivate(PRIVATE, "nvme0", "program nvme0")).message).toBe(
    'program nvme0: not-a-party: given private address 0x12345000 of "vfio and kvm", wanted a private address of an agreement with nvme0',
  );
  expect(stateOf(machine)).toEqual(before);
});
