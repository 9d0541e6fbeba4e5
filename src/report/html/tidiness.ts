/** Tidiness of the IOMMU against an importer's: one point a strategy. */
import { ACCENT, drawChart, type Figure, LINE, MUTED, TEXT_STYLE } from "./chart.js";
import { joinAlike, type ReportedStrategy } from "./strategies.js";

/** A name that is wider than this goes on on the next line. */
const LABEL_WIDTH = 150;

/** @param index which of the importers */
export function importerTidinessFigure(results: readonly ReportedStrategy[], index: number): Figure {
  const importer = (result: ReportedStrategy) => result.importers?.[index] ?? { name: "", tidiness: 0 };
  const { name } = importer(results[0]);
  const points = joinAlike(results, (result) => [result.figures.tidiness, importer(result).tidiness]);
  const axis = (title: string) =>
    ({
      type: "value",
      min: 0,
      max: 1,
      interval: 0.25,
      name: title,
      nameLocation: "middle",
      nameTextStyle: { ...TEXT_STYLE, color: MUTED },
      axisLabel: { ...TEXT_STYLE, color: MUTED },
      axisLine: { show: true, lineStyle: { color: LINE } },
      splitLine: { lineStyle: { color: LINE } },
    }) as const;
  return {
    title: `Tidiness of the IOMMU and of ${name}`,
    caption: "Fewest entries possible, divided by those used, on each side; the upper right corner is tidy for both.",
    drawing: drawChart(330, {
      grid: { left: 52, right: 16, top: 14, bottom: 44, outerBoundsMode: "none" },
      xAxis: { ...axis("IOMMU"), nameGap: 26 },
      yAxis: { ...axis(name), nameGap: 36 },
      series: {
        type: "scatter",
        silent: true,
        symbolSize: 9,
        itemStyle: { color: ACCENT },
        data: points.map(({ name, values: [iommu, theirs] }) => ({
          name,
          value: [iommu, theirs],
          // Away from the nearer edge.
          label: { position: iommu > 0.5 ? "left" : "right", align: iommu > 0.5 ? "right" : "left" },
        })),
        label: { ...TEXT_STYLE, fontSize: 11, show: true, formatter: "{b}", width: LABEL_WIDTH, overflow: "break" },
        labelLayout: { moveOverlap: "shiftY" },
      },
    }),
    data: {
      name: `tidiness-${name}`,
      columns: ["strategy", "iommuTidiness", "importer", "importerTidiness"],
      rows: results.map((result) => [result.strategy.name, result.figures.tidiness, name, importer(result).tidiness]),
    },
  };
}
