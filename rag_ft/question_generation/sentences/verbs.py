"""English verbs as manuals use them, and their forms; and patterns of any words."""

from __future__ import annotations

import re
from types import MappingProxyType

_BASE = """
    accelerate accept access account achieve act activate add address adjust adopt affect aggregate allow amend
    analyse analyze answer append apply approve archive arrive ask assign assume attach authenticate authorize avoid
    back be begin bind block boot bootstrap break bring browse build bump bundle buy bypass cache calculate call
    cancel capture carry catch cause chain change charge check cherry-pick choose claim clean clear click clone
    close collect combine commit compare compete compile complete compress compute configure confirm connect
    consider consist consume contact contain contribute control convert cool copy cost count cover crash create
    customise customize cut deal debug declare decode decrease define delay delete deny depend deploy deprecate
    describe design destroy detect determine develop differ disable discard discover discuss display distribute
    divide do document downgrade download drag drain draw drop dump earn edit embed enable encode encourage encrypt
    end enforce ensure enter erase escape estimate evaluate examine exclude execute exist exit expand expect expire
    explain export expose express extend extract fail fall feel fetch fill filter find finish fit fix flash flush
    follow forbid force forget fork format forward function generate get give go group grow handle happen hash have
    help hide hit hold host hurt identify ignore implement imply import improve include increase index indicate
    inherit initialise initialize inject inline insert inspect install integrate interact introduce invoke isolate
    iterate join keep kill know label lack last launch lead learn leave let lie limit link lint list listen live
    load locate lock log look lose lower maintain make manage map mark match matter mean measure meet memorise merge
    migrate minimise minimize miss mix modify monitor mount move mute name navigate need notify observe obtain occur
    offer omit open operate optimise optimize order organise organize output overfit override overwrite own pack
    parse pass paste patch pause pay perform permit persist pick pin place plan play point populate post prefer
    prepare preserve press prevent preview print process produce profile program prohibit protect prove provide
    provision publish pull purge push put qualify quantise quantize query quit quote raise rank reach read rebase
    rebuild receive recognise recommend reconsider record recover redeploy redirect redo reduce refer refresh refuse
    register reinstall reject release reload rely remain remember remove rename render renew reopen repair repeat
    replace reply report represent request require rerank reserve reset resize resolve respect respond restart
    restore restrict resume retrieve return reuse reverse revert review revoke rewind rewrite rise roll rotate round
    route run sample save say scaffold scale scan schedule score search secure see select sell send separate serve
    set share shift ship shorten show shrink shut sign simplify sit skip solve sort spawn specify spend split squash
    stack stage stand start stay stop store stream strip submit subscribe suffer suit summarise summarize support
    suppress suspend swap switch symlink sync synchronise synchronize tag take target teach tell tend terminate test
    think throw toggle tolerate touch trace track train transfer transform translate travel treat trigger trim trust
    try tune turn type understand undo uninstall unlabel unlock unmute unpack unset untag unzip update upgrade
    upload use validate vary verify view visit vote wait walk want warm warn watch weigh widen win wipe wire
    withdraw work wrap write yield zip zoom
"""
_DOUBLES_ITS_END = frozenset(
    "begin bootstrap commit control debug forbid forget format occur omit overfit permit prefer program quit refer"
    " reset submit transfer unset unzip".split()
)
"""Verbs of several syllables whose last letter stands twice before "-ing"; those of one do where it follows a vowel."""
_ONE_SYLLABLE = re.compile(r"[^aeiou]*[aeiou][^aeiouwxy]")
_VOWELS = "aeiou"


def _third_person(verb: str) -> str:
    if verb == "have":
        return "has"
    if verb in ("do", "go") or verb.endswith(("s", "x", "z", "ch", "sh")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return f"{verb[:-1]}ies"
    return f"{verb}s"


def _gerund(verb: str) -> str:
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if verb.endswith("e") and not verb.endswith("ee") and verb != "be":
        return f"{verb[:-1]}ing"
    doubles = verb in _DOUBLES_ITS_END or _ONE_SYLLABLE.fullmatch(verb)
    return f"{verb}{verb[-1]}ing" if doubles else f"{verb}ing"


VERBS = frozenset(_BASE.split())

BASE_OF_THIRD_PERSON = MappingProxyType({_third_person(verb): verb for verb in sorted(VERBS - {"be"})})
"""supports → support."""

THIRD_PERSON = "|".join(sorted(BASE_OF_THIRD_PERSON))
PLAIN_FORM = "|".join(sorted(VERBS - {"be"}))
"""Patterns of verbs as they follow one thing (supports), and several (support)."""

GERUNDS = frozenset(map(_gerund, VERBS))
"""installing, setting."""


def any_of(words: str) -> str:
    """A pattern of any of these words, which may be patterns themselves; "_" stands for the white space of a phrase."""
    return rf"(?:{'|'.join(words.split())})".replace("_", r"\s+")


def is_base_form(word: str) -> bool:
    """Whether a word is a verb as it stands after "to", also with "re-" before it."""
    return word in VERBS or word.removeprefix("re").removeprefix("-") in VERBS
