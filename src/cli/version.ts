import { createRequire } from "node:module";

/** The package's version. The compiled file lies one level deeper than the source. */
export const version: string = (() => {
  const require = createRequire(import.meta.url);
  for (const path of ["../../../package.json", "../../package.json"]) {
    try {
      const found = require(path) as { name: string; version: string };
      if (found.name === "iommu-lab") return found.version;
    } catch {
      // Not at this depth.
    }
  }
  throw new Error("package.json of iommu-lab is missing");
})();
