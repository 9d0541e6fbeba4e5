/** The unit against the slow model, on random machines: answers, events and the words that walks change. */
import { describe, expect, it } from "vitest";
import { type SlowOutcome, slowTranslate } from "../support/slow-smmuv3.js";
import { type RandomMachine, randomMachine } from "../support/smmuv3/random-machine.js";
import { SparseMemory } from "../support/vtd/sparse-memory.js";
import { type Answer, answer, openUnit } from "./loaded-unit.js";

/** Of a fault that is not recorded, the unit says nothing. */
function expected(outcome: SlowOutcome): Answer {
  if (outcome.kind === "translated") return outcome;
  const { kind, code, recorded, stall, fields } = outcome;
  return recorded ? { kind, code, stall, fields } : { kind, code: null, stall, fields: {} };
}

async function compare({ registers, words, ram, requests }: RandomMachine): Promise<void> {
  const loaded = await openUnit(registers, ram, words);
  const memory = new SparseMemory(ram, words);
  requests.forEach((request, index) => {
    loaded.unit.invalidateCaches();
    const outcome = expected(slowTranslate({ registers, memory }, request));
    const got = answer(loaded.unit, request);
    expect({ index, request, ...got }).toEqual({ index, request, ...outcome });
    for (const address of words.keys()) {
      const word = loaded.memory.read64(address);
      if (word === memory.read(address)) continue;
      expect({ index, request, address, word }).toEqual({ index, request, address, word: memory.read(address) });
    }
  });
  loaded.unit.release();
}

describe("the unit and the slow model agree", () => {
  it.each(Array.from({ length: 15 }, (_, i) => i * 1000))("on the random machines from seed %i", async (from) => {
    for (let seed = from; seed < from + 20; seed++) await compare(randomMachine(seed));
  });
});
