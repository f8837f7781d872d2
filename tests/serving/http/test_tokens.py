"""The file of personal tokens."""

import datetime
import os
import stat

import pytest
from typer.testing import CliRunner

from rag_ft.cli import app
from rag_ft.errors import UsageError
from rag_ft.serving.http.tokens import Right, TokenFile, add_token, hash_of, parse_tokens, remove_token

HASH = "sha256:" + "a" * 64
UTC = datetime.timezone.utc


def test_a_token_is_shown_once_and_its_file_holds_only_a_hash(tmp_path):
    path = tmp_path / "tokens.toml"
    token = add_token(path, "anna", groups=["staff", "legal"], rights="read")
    assert len(token) > 40 and token not in path.read_text() and hash_of(token) in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    who = TokenFile(path).identity(token)
    assert (who.name, who.groups, who.right) == ("anna", ("legal", "staff"), Right.READ)
    assert who.audience.groups == {"legal", "staff"} and who.audience.default is None
    for wrong in ("", token[:-1], token + "x", hash_of(token), "ä\udc80"):
        assert TokenFile(path).identity(wrong) is None


def test_an_administrator_sees_everything_whatever_the_groups(tmp_path):
    token = add_token(tmp_path / "t.toml", "root", groups=[], rights="admin")
    assert TokenFile(tmp_path / "t.toml").identity(token).audience is None


def test_documents_without_a_label_are_for_the_groups_of_default_access(tmp_path):
    path = tmp_path / "t.toml"
    token = add_token(path, "anna", groups=["staff"], rights="read")
    path.write_text("default_access = []\n\n" + path.read_text())
    assert not TokenFile(path).identity(token).audience.may_read({})


def test_a_change_of_the_file_is_picked_up_and_an_invalid_one_refused_as_a_whole(tmp_path, caplog):
    path = tmp_path / "tokens.toml"
    anna = add_token(path, "anna", groups=["staff"], rights="read")
    file = TokenFile(path)
    bob = add_token(path, "bob", groups=["legal"], rights="read")
    assert file.identity(bob).name == "bob"
    remove_token(path, "anna")
    assert file.identity(anna) is None and file.identity(bob) is not None
    good = path.read_text()
    path.write_text(good + "\n[[token]]\nname = 'eve'\n")
    assert file.identity(bob) is not None and file.identity(bob) is not None
    assert caplog.text.count("token.1.hash") == 1 and "the tokens from before this change stay valid" in caplog.text
    path.unlink()
    assert file.identity(bob) is None and "no token is valid" in caplog.text
    path.write_text(good)
    assert file.identity(bob).name == "bob"


def test_a_token_ends_after_its_last_day_or_at_its_time(tmp_path):
    path = tmp_path / "t.toml"
    token = add_token(path, "anna", groups=[], rights="read", expires=datetime.date(2027, 1, 31))
    file = TokenFile(path)
    assert file.identity(token, now=datetime.datetime(2027, 1, 31, 23, 59, tzinfo=UTC)) is not None
    assert file.identity(token, now=datetime.datetime(2027, 2, 1, tzinfo=UTC)) is None
    path.write_text(path.read_text().replace("2027-01-31", "2027-01-31T12:00:00+02:00"))
    assert file.identity(token, now=datetime.datetime(2027, 1, 31, 9, 59, tzinfo=UTC)) is not None
    assert file.identity(token, now=datetime.datetime(2027, 1, 31, 10, 0, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[token]", "not valid TOML"),
        ("tokens = 1", "tokens"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\ngroup=['x']", "group"),
        ("[[token]]\nname='a'\nhash='secret'", "hash"),
        (f"[[token]]\nname='a'\nhash='{HASH}\\n'", "hash"),
        (f"[[token]]\nname='a b'\nhash='{HASH}'", "name"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\nrights='root'", "rights"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\ngroups=[3]", "groups"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\ngroups='a b'", "groups"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\nrights='write'", "no groups"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\nexpires='2027-01-01'", "not a date"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\nexpires=2027-01-01T00:00:00", "zone"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\nexpires=3", "not a date"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\n[[token]]\nname='b'\nhash='{HASH}'", "the hash"),
        (f"[[token]]\nname='a'\nhash='{HASH}'\n[[token]]\nname='a'\nhash='sha256:{'b' * 64}'", "the name 'a'"),
        ("default_access = 3", "default_access"),
    ],
)
def test_an_invalid_file_of_tokens_is_one_sentence(tmp_path, text, message):
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        TokenFile(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_an_empty_one_and_a_folder_are_errors(tmp_path):
    with pytest.raises(UsageError, match=r"no file of tokens.*token add"):
        TokenFile(tmp_path / "none.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(UsageError, match="holds no token"):
        TokenFile(tmp_path / "empty.toml")
    with pytest.raises(UsageError):
        TokenFile(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX")
def test_a_file_that_everyone_can_write_is_refused_and_one_that_everyone_can_read_is_reported(tmp_path, caplog):
    path = tmp_path / "t.toml"
    add_token(path, "anna", groups=[], rights="read")
    path.chmod(0o644)
    TokenFile(path)
    assert "chmod 600" in caplog.text
    path.chmod(0o666)
    with pytest.raises(UsageError, match="every user of this machine can write"):
        TokenFile(path)


def test_comments_and_the_other_tokens_stay_when_one_goes(tmp_path):
    path = tmp_path / "t.toml"
    for name in ("anna", "bob", "carl"):
        add_token(path, name, groups=["g"], rights="read")
    path.write_text("# our tokens\ndefault_access = ['g']\n" + path.read_text())
    path.chmod(0o640)
    remove_token(path, "bob")
    assert path.read_text().startswith("# our tokens") and stat.S_IMODE(path.stat().st_mode) == 0o640
    kept = parse_tokens(path.read_bytes(), path)
    assert [entry.name for entry in kept.token] == ["anna", "carl"] and kept.default_access == ("g",)


def test_a_file_written_in_another_way_is_left_alone(tmp_path):
    path = tmp_path / "t.toml"
    text = f"token = [{{name = 'a', hash = '{HASH}'}}, {{name = 'b', hash = 'sha256:{'b' * 64}'}}]\n"
    path.write_text(text)
    with pytest.raises(UsageError, match="edit it by hand"):
        remove_token(path, "a")
    with pytest.raises(UsageError, match="edit it by hand"):
        add_token(path, "c", groups=[], rights="read")
    assert path.read_text() == text


def test_the_command_makes_lists_and_removes(tmp_path):
    path = str(tmp_path / "t.toml")
    run = lambda *call: CliRunner().invoke(app, ["token", *call, "--file", path])  # noqa: E731
    added = run("add", "--name", "anna", "--groups", "staff, legal", "--expires", "2030-01-31")
    assert TokenFile(tmp_path / "t.toml").identity(added.stdout.strip()).name == "anna"
    assert "anna: read, groups legal, staff, until 2030-01-31" in run("list").stdout
    for call, message in (
        (("--name", "anna"), "already"),
        (("--name", "b", "--groups", "a b"), "--groups names the group"),
        (("--name", "b", "--rights", "write"), "no groups"),
        (("--name", "a'\n"), "cannot be created"),
        (("--name", "b", "--expires", "soon"), "--expires"),
    ):
        assert message in str(run("add", *call).exception)
    assert run("remove", "--name", "anna").exit_code == 0
    assert "no token 'anna'" in str(run("remove", "--name", "anna").exception)
