import { createRequire } from "node:module";

/** The package's version; the package finds itself by its own name, wherever this file was compiled to. */
export const { version } = createRequire(import.meta.url)("iommu-lab/package.json") as { version: string };
