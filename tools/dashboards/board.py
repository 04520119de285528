"""What all boards have in common: variables, links to one another, and how they are written."""

import json
from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from .panels import PROMETHEUS, Panel

TAG = "meshlib"
Section = tuple[str, Sequence[Panel]]


def board(uid: str, title: str, variables: Sequence[Builder[VariableModel]]) -> Dashboard:
    made = (
        Dashboard(title)
        .uid(f"meshlib-{uid}")
        .tags([TAG, "istio"])
        .timezone("browser")
        .time("now-30m", "now")
        .refresh("30s")
        .link(
            DashboardLink("Boards of the mesh")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(as_dropdown=True)
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in variables:
        made = made.with_variable(variable)
    return made


def filled(made: Dashboard, sections: Sequence[Section]) -> Dashboard:
    number = 0
    for title, panels in sections:
        number += 1
        made = made.with_row(Row(title).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(panel.id(number))
    return made


def choice(name: str, label: str, metric: str, of: str, *, several: bool = False) -> QueryVariable:
    """The values that a label has; ``several``: all of them, until some are chosen."""
    made = (
        QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(f"label_values({metric}, {of})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        everything = VariableOption(selected=True, text="All", value="$__all")
        made = made.multi(multi=True).include_all(include_all=True).all_value(".*")
        made = made.current(everything)
    return made


def reporter(*, client: bool) -> CustomVariable:
    """Who counted: both ends do, so only one may be asked at a time."""
    options = [
        VariableOption(selected=client, text="clients", value="source|waypoint"),
        VariableOption(selected=not client, text="servers", value="destination"),
    ]
    return (
        CustomVariable("reporter")
        .label("As counted by")
        .values("clients : source|waypoint,servers : destination")
        .options(options)
        .current(next(option for option in options if option.selected))
    )


def written(made: Dashboard) -> str:
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
