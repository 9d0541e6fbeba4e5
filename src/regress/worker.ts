/** What a worker thread of a regression run does. */
import { IommuError } from "../engine/errors.js";
import { loadModule } from "../engine/load.js";
import { TraceError } from "../trace/errors.js";
import { type Counters, replayCase } from "./figures.js";
import type { SuiteCase } from "./suite.js";
import { measure, type WallFigures } from "./wall.js";

export interface Task extends Pick<SuiteCase, "inputs" | "traffic"> {
  /** Where the paths of its traces begin. */
  readonly directory: string;
  /** What a page's report of it is called; null where there is none. */
  readonly chapter: string | null;
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

/** What was counted, with the report as HTML where there is one: its charts are drawn here, too. */
export interface Counted {
  readonly counters: Counters;
  readonly chapter: string | null;
}

async function countCase(task: Task): Promise<Counted> {
  const { inputs, directory, chapter } = task;
  const { counters, reported } = await replayCase(await loadModule(), task, directory, chapter !== null);
  if (chapter === null) return { counters, chapter };
  // The charting library takes longer to load than a short trace to replay.
  const { caseChapter } = await import("./html.js");
  return { counters, chapter: caseChapter(chapter, inputs, reported).text };
}

export async function count(task: Task): Promise<Outcome<Counted>> {
  return outcome(countCase(task));
}

export async function time(task: Task): Promise<Outcome<WallFigures>> {
  const module = await loadModule();
  return outcome(measure(() => replayCase(module, task, task.directory)));
}
