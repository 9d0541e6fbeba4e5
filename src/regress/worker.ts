/** What a worker thread of a regression run does. */
import { IommuError } from "../engine/errors.js";
import { loadModule } from "../engine/load.js";
import { TraceError } from "../trace/errors.js";
import { type Counters, countCase } from "./figures.js";
import type { CaseInputs } from "./suite.js";
import { measure, type WallFigures } from "./wall.js";

export interface Task {
  readonly inputs: CaseInputs;
  /** Where the paths of its traces begin. */
  readonly directory: string;
}

/** A result, or why the case could not be run: an error's type does not come through to another thread. */
export type Outcome<T> = { readonly result: T } | { readonly reason: string };

async function outcome<T>(work: Promise<T>): Promise<Outcome<T>> {
  try {
    return { result: await work };
  } catch (error) {
    if (error instanceof TraceError || error instanceof IommuError) return { reason: error.message };
    throw error;
  }
}

export async function count({ inputs, directory }: Task): Promise<Outcome<Counters>> {
  return outcome(countCase(await loadModule(), inputs, directory));
}

export async function time({ inputs, directory }: Task): Promise<Outcome<WallFigures>> {
  const module = await loadModule();
  return outcome(measure(() => countCase(module, inputs, directory)));
}
