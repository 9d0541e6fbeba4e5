/** Every error code occurs, and its message says what was asked, why it was refused, and where. */
import { describe, expect, test } from "vitest";
import * as layout from "../../assembly/layout.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import { codeOf, type ErrorCode, IommuError, statusError } from "../../src/engine/errors.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

interface Refusal {
  readonly code: ErrorCode;
  readonly run: (engine: Engine) => unknown;
  readonly message: RegExp;
}

const REFUSALS: readonly Refusal[] = [
  {
    code: "misaligned",
    run: (engine) => engine.createTable("vtdss").map(iovaOf(0x1001n), physicalOf(0n), 4096n, READ_WRITE),
    message: /^map 0x1001 to 0x0, 4096 bytes: misaligned at 0x1001: .*granule/,
  },
  {
    code: "input-range",
    run: (engine) => engine.createTable("vtdss", { levels: 3 }).unmap(iovaOf(1n << 39n), 8192n),
    message: /^unmap 0x8000000000, 8192 bytes: input-range at 0x8000000000: /,
  },
  {
    code: "output-range",
    run: (engine) => engine.createTable("vmsav8-4k").map(iovaOf(0n), physicalOf(1n << 48n), 4096n, READ_WRITE),
    message: /^map 0x0 to 0x1000000000000, 4096 bytes: output-range at 0x0: /,
  },
  {
    code: "overlap",
    run: (engine) => {
      const table = engine.createTable("x86_64");
      table.map(iovaOf(0x3000n), physicalOf(0n), 4096n, READ_WRITE);
      table.map(iovaOf(0x1000n), physicalOf(0n), 0x4000n, READ_WRITE);
    },
    message: /^map 0x1000 to 0x0, 16384 bytes: overlap at 0x3000: /,
  },
  {
    code: "hole",
    run: (engine) => engine.createTable("vtdss").unmap(iovaOf(0x5000n), 4096n),
    message: /^unmap 0x5000, 4096 bytes: hole at 0x5000: /,
  },
  {
    code: "inside-leaf",
    run: (engine) => {
      const table = engine.createTable("vtdss");
      table.map(iovaOf(0n), physicalOf(0n), 0x20_0000n, READ_WRITE);
      table.unmap(iovaOf(0x1000n), 4096n);
    },
    message: /^unmap 0x1000, 4096 bytes: inside-leaf at 0x1000: /,
  },
  {
    code: "permissions",
    run: (engine) => engine.createTable("vtdss").map(iovaOf(0n), physicalOf(0n), 4096n, {}),
    message: /^map 0x0 to 0x0, 4096 bytes: permissions/,
  },
  {
    code: "bus-error",
    run: (engine) => engine.memory.read64(physicalOf(0xabc000n)),
    message: /^read a 64-bit word: bus-error at 0xabc000: /,
  },
  {
    code: "memory-exhausted",
    run: (engine) => engine.linear.allocate(0xffff_ffff),
    message: /^take 4294967295 bytes of linear memory: memory-exhausted/,
  },
  {
    code: "space-exhausted",
    run: (engine) =>
      engine.createIovaSpace({ last: 0xffffn }).allocate({ length: 1n << 20n, alignment: 8192n, congruentTo: 4096n }),
    message: /^allocate 1048576 bytes of IOVA congruent to 0x1000 aligned to 8192: space-exhausted: /,
  },
  {
    code: "not-allocated",
    run: (engine) => engine.createIovaSpace().free(dmaAddress(0x4000n)),
    message: /^free 0x4000: not-allocated at 0x4000: /,
  },
  {
    code: "invalid",
    run: (engine) => engine.format("ept"),
    message: /^use page-table format "ept": invalid: the formats are vtdss, x86_64, vmsav8-4k/,
  },
  {
    code: "arena-conflict",
    run: (engine) => engine.memory.load(engine.memory.arenaBase, Uint8Array.of(1)),
    message: /^load 1 bytes: arena-conflict at 0x4000000000: /,
  },
];

describe("every code", () => {
  test.each(REFUSALS)("$code", async ({ code, run, message }) => {
    const engine = await newEngine();
    const error = refused(code, () => run(engine));
    expect(error.message).toMatch(message);
    expect(error.name).toBe("IommuError");
    expect(error.message.startsWith(error.operation)).toBe(true);
  });

  test("every status of the WASM module has a code of its own, and each is among the cases above", () => {
    const statuses = Object.entries(layout).filter(([name]) => name.startsWith("STATUS_") && name !== "STATUS_OK");
    const codes = statuses.map(([name, status]) => [name, codeOf(status)]);
    // STATUS_INPUT_RANGE is "input-range", and so on.
    expect(codes).toEqual(statuses.map(([name]) => [name, name.slice(7).toLowerCase().replaceAll("_", "-")]));
    expect(new Set(REFUSALS.map(({ code }) => code))).toEqual(new Set(codes.map(([, code]) => code)));
  });

  test("a status that no one knows is not taken for success", () => {
    expect(statusError(99, "do something")).toMatchObject({ code: "invalid", message: expect.stringContaining("99") });
    expect(new IommuError("hole", "unmap").message).toBe("unmap: hole: refused");
  });
});
