/** Random lives of a movable buffer with importers of every kind, against the plain model. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { DmaDevice, type DmaRange } from "../../src/dma/index.js";
import { type AttachOptions, type Attachment, type ImporterOps, VramBuffer } from "../../src/dmabuf/index.js";
import { newEngine } from "../support/engine.js";
import { CONTEXT, makeMachine } from "../dma/support.js";
import { type Kind, Model, type Place } from "./model.js";
import { codeOf, FAR, GPU, NEAR, newMemory, newVram, PAGE } from "./support.js";

const engine = await newEngine();
const PAGES = 3 * 16 + 2;

type Step =
  | { readonly do: "attach"; readonly kind: Kind }
  | { readonly do: "map" | "unmap" | "pin" | "unpin" | "detach"; readonly who: number }
  | { readonly do: "move"; readonly to: Place }
  | { readonly do: "settle" };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant("attach" as const),
        kind: fc.constantFrom<Kind>("static", "dynamic", "peer", "far-peer", "deaf-peer"),
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constantFrom(
          "map" as const,
          "map" as const,
          "unmap" as const,
          "pin" as const,
          "unpin" as const,
          "detach" as const,
        ),
        who: fc.nat(20),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant("move" as const), to: fc.constantFrom<Place>("vram", "system") }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("settle" as const) }) },
  ),
  { minLength: 10, maxLength: 60 },
);

function optionsOf(kind: Kind): AttachOptions {
  const invalidateMappings = (of: Attachment): void => {
    for (const mapped of of.mapped) of.unmap(CONTEXT, mapped);
  };
  const ops: Record<Kind, ImporterOps | undefined> = {
    static: undefined,
    dynamic: { invalidateMappings },
    peer: { allowPeer2peer: true, invalidateMappings },
    "far-peer": { allowPeer2peer: true, invalidateMappings },
    "deaf-peer": { allowPeer2peer: true },
  };
  const importerOps = ops[kind];
  return { node: kind === "far-peer" ? FAR : NEAR, ...(importerOps ? { importerOps } : {}) };
}

class Life {
  readonly machine = makeMachine(engine);
  readonly system = newMemory(2 ** 12);
  readonly vram = newVram();
  readonly buffer: VramBuffer;
  readonly model: Model;
  readonly attachments: Attachment[] = [];
  /** Where each live mapping led when it was made. */
  readonly memory = new Map<object, readonly bigint[]>();
  readonly device = new DmaDevice(this.machine.domain, { name: "nic", maxSegmentSize: 1n << 31n });
  readonly systemFree = this.system.freePages;

  constructor(hasSystem: boolean) {
    this.model = new Model(PAGES, hasSystem);
    this.buffer = new VramBuffer(BigInt(PAGES) * PAGE, {
      node: GPU,
      vram: this.vram,
      host: "none",
      ...(hasSystem ? { system: this.system } : {}),
    });
  }

  run(step: Step): void {
    const { reservation } = this.buffer.dmaBuf;
    if (step.do === "settle") {
      reservation.wait("bookkeep");
      this.model.settle();
      return;
    }
    if (step.do === "move") {
      const code = codeOf(() => reservation.with(() => this.buffer.move(step.to)));
      expect(code).toBe(this.model.move(step.to));
      return;
    }
    if (step.do === "attach") {
      const code = codeOf(() => {
        this.attachments.push(this.buffer.dmaBuf.attach(this.device, optionsOf(step.kind)));
      });
      expect(code).toBe(this.model.attach(step.kind));
      return;
    }
    if (this.attachments.length === 0) return;
    const index = step.who % this.attachments.length;
    const importer = this.model.importers[index];
    const attachment = this.attachments[index];
    const what = step.do;
    if (what === "detach") {
      expect(codeOf(() => attachment.detach())).toBe(this.model.detach(index));
      return;
    }
    const expected = importer === null ? "detached" : this.model[what](importer);
    expect(codeOf(() => this.#change(what, attachment))).toBe(expected);
  }

  #change(what: "map" | "unmap" | "pin" | "unpin", attachment: Attachment): void {
    this.buffer.dmaBuf.reservation.with(() => {
      if (what === "pin") attachment.pin(CONTEXT);
      else if (what === "unpin") attachment.unpin();
      else if (what === "unmap")
        attachment.unmap(CONTEXT, attachment.mapped[0] ?? { type: "scatterlist", segments: [] });
      else this.memory.set(attachment.map(CONTEXT, "bidirectional"), this.#pages());
    });
  }

  #pages(): bigint[] {
    return this.buffer.blocks.flatMap(({ address, length }) =>
      Array.from({ length: Number(length / PAGE) }, (_, page) => address + BigInt(page) * PAGE),
    );
  }

  check(): void {
    const { model, buffer, machine } = this;
    expect(buffer.placement).toBe(model.place);
    expect(this.attachments.map(({ pins, mapped }) => [pins, mapped.length])).toEqual(
      model.importers.map((importer) => (importer ? [importer.pins, importer.mapped] : [0, 0])),
    );
    expect(this.systemFree - this.system.freePages).toBe(model.used.system);
    let translated = 0;
    for (const mapped of this.attachments.flatMap((attachment) => attachment.mapped)) {
      const pages = (mapped.segments as readonly DmaRange[]).flatMap(({ address, length }) =>
        Array.from({ length: Number(length / PAGE) }, (_, page) =>
          machine.table.iovaToPhys((address + BigInt(page) * PAGE) as DmaRange["address"]),
        ),
      );
      expect(pages).toEqual(this.memory.get(mapped));
      translated += pages.length;
    }
    const inUse = [...machine.iova.inUse.values()].reduce((sum, pages) => sum + pages, 0);
    expect(inUse).toBe(translated);
  }

  end(): void {
    for (const attachment of this.attachments) {
      for (const mapped of attachment.mapped) attachment.unmapUnlocked(CONTEXT, mapped);
      codeOf(() => attachment.detach());
    }
    this.buffer.dmaBuf.release();
    expect([this.machine.iova.inUse.size, this.machine.domain.live.size, this.system.freePages]).toEqual([
      0,
      0,
      this.systemFree,
    ]);
    // All of VRAM but the carve-out of 1/64 can be had again.
    expect(this.vram.allocate(2 ** 18 - 2 ** 12).runs.pages).toBe(2 ** 18 - 2 ** 12);
  }
}

test.each([
  ["with host memory to go to", true],
  ["in VRAM only", false],
])("lives of a buffer, %s", (_what, hasSystem) => {
  fc.assert(
    fc.property(steps, (todo) => {
      const life = new Life(hasSystem);
      for (const step of todo) {
        life.run(step);
        life.check();
      }
      life.end();
    }),
    { numRuns: 40 },
  );
});
