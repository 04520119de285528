"""The kinds of panels that the boards are made of."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    ScaleDistributionConfig,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.heatmap import HeatmapColorOptions, YAxisConfig
from grafana_foundation_sdk.builders.heatmap import Panel as Heatmap
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from .meanings import MEANINGS

Panel = Timeseries | Stat | Table | Heatmap
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
CALLS, SHARE, MILLISECONDS, SECONDS, OCTETS = "reqps", "percentunit", "ms", "s", "bytes"
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def graph(
    title: str, unit: str, queries: Mapping[str, str], *, width: int = 12, stacked: bool = False
) -> Timeseries:
    """``queries``: what a line is called, ``{{label}}`` included, and its expression."""
    legend = (
        VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    tooltip = VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    panel = (
        Timeseries()
        .title(title)
        .description(MEANINGS[title])
        .unit(unit)
        .min(0)
        .datasource(PROMETHEUS)
        .span(width)
        .height(8)
        .legend(legend)
        .tooltip(tooltip)
    )
    if unit == SHARE:
        panel = panel.max(1)
    if stacked:
        stacking = StackingConfig().mode(StackingMode.NORMAL)
        panel = panel.fill_opacity(30).stacking(stacking)
    for name, (line, expression) in zip(NAMES, queries.items(), strict=False):
        panel = panel.with_target(query(name, expression).legend_format(line).range())
    return panel


def number(title: str, unit: str, expression: str, *, width: int = 4) -> Stat:
    return (
        Stat()
        .title(title)
        .description(MEANINGS[title])
        .unit(unit)
        .datasource(PROMETHEUS)
        .span(width)
        .height(4)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query("A", expression).range())
    )


def text(title: str, label: str, expression: str, *, width: int = 4) -> Stat:
    """The value of a label, instead of a number."""
    return (
        Stat()
        .title(title)
        .description(MEANINGS[title])
        .datasource(PROMETHEUS)
        .span(width)
        .height(4)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields(f"/^{label}$/"))
        .with_target(query("A", expression).instant().format(PromQueryFormat.TABLE))
    )


def table(
    title: str,
    columns: Mapping[str, tuple[str, str]],
    labels: Mapping[str, str],
    *,
    height: int = 10,
) -> Table:
    """``columns``: by their titles, with unit and expression; ``labels``: those they share, as
    they are called here."""
    panel = (
        Table()
        .title(title)
        .description(MEANINGS[title])
        .datasource(PROMETHEUS)
        .span(24)
        .height(height)
    )
    renamed = dict(labels)
    for name, (column, (unit, expression)) in zip(NAMES, columns.items(), strict=False):
        asked = query(name, expression).instant().format(PromQueryFormat.TABLE)
        shown = [DynamicConfigValue("unit", unit), DynamicConfigValue("decimals", 2)]
        panel = panel.with_target(asked).override_by_name(column, shown)
        renamed[f"Value #{name}" if len(columns) > 1 else "Value"] = column
    order = {name: place for place, name in enumerate(renamed)}
    organized = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed}
    return panel.transformations(
        [
            DataTransformerConfig(id_val="merge", options={}),
            DataTransformerConfig(id_val="organize", options=organized),
        ]
    )


def heat_map(title: str, metric: str, *, where: str = "", width: int = 12) -> Heatmap:
    """Of a histogram in seconds."""
    expression = f"sum by (le) (increase({metric}_bucket{where}[$__rate_interval]))"
    return (
        Heatmap()
        .title(title)
        .description(MEANINGS[title])
        .datasource(PROMETHEUS)
        .span(width)
        .height(8)
        .calculate(calculate=False)
        .color(HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(YAxisConfig().unit(SECONDS))
        .scale_distribution(ScaleDistributionConfig().type(ScaleDistribution.LINEAR))
        .with_target(
            query("A", expression).format(PromQueryFormat.HEATMAP).legend_format("{{le}}").range()
        )
    )


def query(name: str, expression: str) -> Dataquery:
    return Dataquery().ref_id(name).expr(expression).datasource(PROMETHEUS)
