import json
import os


def break_routes(mesh):
    path = mesh / "routes.yaml"
    path.write_text(path.read_text().replace("subset: v1}, weight: 90", "subset: v9}, weight: 90"))


def test_a_clean_folder_is_exit_code_0(mesh, run):
    said = run("analyze", mesh)
    assert said.exit_code == 0
    assert "no findings in 2 files" in said.output


def test_an_error_shows_its_line_with_a_caret_under_the_place(mesh, run):
    break_routes(mesh)
    said = run("analyze", mesh)
    assert said.exit_code == 1
    head, source, caret, summary = said.output.splitlines()[:4]
    place, severity, code = head.split()[:3]
    file, line, column = place.split(":")
    assert (file, severity, code) == ("mesh/routes.yaml", "error", "ML0107")
    text = (mesh / file.rpartition("/")[2]).read_text().splitlines()[int(line) - 1]
    assert source == f"{line:>5} | {text}"
    assert caret.index("^") == len("      | ") + int(column) - 1
    assert text[int(column) - 1 :].startswith("v9")
    assert summary.startswith("1 error in 2 files")


def test_programs_get_the_findings(mesh, run):
    break_routes(mesh)
    said = run("analyze", mesh, "-o", "json")
    assert said.exit_code == 1
    (finding,) = json.loads(said.output)
    assert (finding["code"], finding["severity"]) == ("ML0107", "error")
    assert finding["place"].startswith("mesh/routes.yaml:")


def test_a_file_that_is_not_yaml_is_a_finding(mesh, run):
    (mesh / "routes.yaml").write_text("kind: [\n")
    said = run("analyze", mesh)
    assert said.exit_code == 1
    assert "mesh/routes.yaml:2:1" in said.output


def test_an_empty_folder_gets_a_hint(tmp_path, run):
    said = run("analyze", tmp_path)
    assert said.exit_code == 0
    assert "Next: put manifests" in said.output


def test_a_path_that_does_not_exist_is_wrong_usage(run):
    assert run("analyze", "nowhere").exit_code == 2


def test_a_pipe_in_a_folder_is_a_finding_and_hangs_nothing(mesh, run):
    os.mkfifo(mesh / "pipe.yaml")
    said = run("analyze", mesh)
    assert said.exit_code == 1
    assert "mesh/pipe.yaml" in said.output
    assert "a pipe, not a file" in said.output


def test_a_very_long_line_is_shown_in_part(mesh, run):
    (mesh / "long.yaml").write_text("a: [" + "1, " * 10_000 + "]\n")
    assert max(map(len, run("analyze", mesh).output.splitlines())) < 300
