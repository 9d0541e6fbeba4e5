/** What users are told when something could not be done. */
import { inspect } from "node:util";
import { VectorError } from "../conform/errors.js";
import { DumpError } from "../dump/errors.js";
import { IommuError, UnknownNameError } from "../engine/errors.js";
import { suggestion } from "../names.js";
import { PredictError } from "../predict/errors.js";
import { RegressError } from "../regress/errors.js";
import { TraceError } from "../trace/errors.js";

/** Errors that say what is wrong with what was given; any other is a mistake of this program. */
const EXPECTED = [DumpError, IommuError, PredictError, RangeError, RegressError, TraceError, VectorError];

/** What a terminal would act on, and what was no text; files that are not what they should be are quoted in messages. */
const NOT_PRINTABLE = /[^\P{Cc}\n]|\ufffd/gu;

/** The lines for stderr; with DEBUG in the environment, also where the error arose and what caused it. */
export function errorText(error: unknown): string {
  if (process.env.DEBUG) return `iommu-lab: ${inspect(error)}\n`;
  const message = (error instanceof Error ? error.message : String(error)).replace(NOT_PRINTABLE, "?");
  const near = error instanceof UnknownNameError ? suggestion(error.unknown, error.known) : "";
  if (EXPECTED.some((kind) => error instanceof kind)) return `iommu-lab: ${message}${near}\n`;
  return `iommu-lab: failed unexpectedly: ${message}\n(DEBUG=1 shows where)\n`;
}
