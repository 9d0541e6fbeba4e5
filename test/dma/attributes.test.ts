import { expect, test } from "vitest";
import { attributeNames, dmaAttributes, hasAttribute, NO_ATTRIBUTES } from "../../src/dma/index.js";

test("attributes have the kernel's bits", () => {
  expect(dmaAttributes("WEAK_ORDERING", "WRITE_COMBINE", "NO_KERNEL_MAPPING", "SKIP_CPU_SYNC")).toBe(0x36);
  expect(dmaAttributes("FORCE_CONTIGUOUS", "ALLOC_SINGLE_PAGES", "NO_WARN", "PRIVILEGED")).toBe(0x3c0);
  expect(dmaAttributes("MMIO", "DEBUGGING_IGNORE_CACHELINES", "REQUIRE_COHERENT", "CC_SHARED")).toBe(0x3c00);
  expect(NO_ATTRIBUTES).toBe(0);
});

test("a set names its members", () => {
  const set = dmaAttributes("MMIO", "SKIP_CPU_SYNC", "MMIO");
  expect(attributeNames(set)).toEqual(["SKIP_CPU_SYNC", "MMIO"]);
  expect(hasAttribute(set, "NO_WARN", "MMIO")).toBe(true);
  expect(hasAttribute(set, "NO_WARN")).toBe(false);
});
