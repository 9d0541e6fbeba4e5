/** Name of a suite's file, where none is given. */
export const SUITE_FILE = "iommu-lab.suite.json";
