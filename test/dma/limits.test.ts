/** What a driver may ask of the limits, and options that make no sense. */
import { expect, test } from "vitest";
import { DmaMisuseError, getMergeBoundary, maxMappingSize, optMappingSize } from "../../src/dma/index.js";
import { SEGMENT_BYTES } from "../../src/dma/swiotlb.js";
import { newEngine } from "../support/engine.js";
import { FORMATS, makeMachine } from "./support.js";

const engine = await newEngine();

test.each([
  ["vtdss", 128n << 10n, 0xfffn],
  ["vmsav8-64k", 2n << 20n, 0xffffn],
] as const)("%s: mappings to %s bytes are cached; pieces merge on the mask %s", (format, cached, mask) => {
  const { device } = makeMachine(engine, { format });
  expect([maxMappingSize(device), optMappingSize(device)]).toEqual([0xffff_ffff_ffff_ffffn, cached]);
  expect(getMergeBoundary(device)).toBe(mask);
  const { device: untrusted } = makeMachine(engine, { format, device: { untrusted: true, minAlignMask: 0xfffn } });
  expect(maxMappingSize(untrusted)).toBe(SEGMENT_BYTES - 0x1000n);
});

test.each(FORMATS)("%s: pages of the IOMMU are no larger than the CPU's", (format) => {
  const { granule } = engine.format(format);
  const make = (): unknown => makeMachine(engine, { format, host: { pageSize: 4096n } });
  if (granule > 4096n) expect(make).toThrow(DmaMisuseError);
  else expect(make).not.toThrow();
});

test("an aperture has an address", () => {
  expect(() => makeMachine(engine, { domain: { aperture: { first: 0x2000n, last: 0x1fffn } } })).toThrow(
    DmaMisuseError,
  );
});

test.each([{ minAlignMask: 0xff0n }, { segmentBoundaryMask: -1n }, { maxSegmentSize: 0n }])(
  "no device has %s",
  (device) => {
    expect(() => makeMachine(engine, { device })).toThrow(DmaMisuseError);
  },
);
