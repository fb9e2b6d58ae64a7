# SPDX-License-Identifier: Apache-2.0
"""What a suite that comes with a client is held to: allow.txt beside its program names the tests that
pass, and only grows; FINDINGS.md names every other one, with the cause."""
import os

HERE = os.path.dirname(os.path.abspath(__file__))
FINDINGS = os.path.join(HERE, "FINDINGS.md")
HEAD = "# SPDX-License-Identifier: Apache-2.0\n# Tests of this suite that pass. Lines come, and never go.\n"


def path_of(suite):
    return os.path.join(HERE, "suites", suite, "allow.txt")


def allowed(suite):
    if not os.path.exists(path_of(suite)):
        return set()
    with open(path_of(suite)) as file:
        return {line.strip() for line in file if line.strip() and not line.startswith("#")}


def section(suite):
    """The part of FINDINGS.md about one suite, from its heading to the next."""
    with open(FINDINGS) as file:
        parts = file.read().split("\n## ")
    return next((part for part in parts if part.split("\n", 1)[0].strip() == suite), "")


def settle(suite, outcomes, accept=False, whole=True):
    """outcomes: {test: "" if it passed, else why not}. Prints what is not as it should be, and returns
    the exit code. `whole`: every test of the suite was to run."""
    allow = allowed(suite)
    passed = {test for test, reason in outcomes.items() if not reason}
    if accept:
        allow |= passed
        with open(path_of(suite), "w") as file:
            file.write(HEAD + "".join(test + "\n" for test in sorted(allow)))
    known = section(suite)
    differences = [f"{test} fails: {outcomes[test]}" for test in sorted(allow & set(outcomes) - passed)]
    differences += [f"{test} did not run" for test in sorted(allow - set(outcomes)) if whole]
    differences += [f"{test} passes, and is not in allow.txt (--accept adds it)"
                    for test in sorted(passed - allow)]
    differences += [f"{test} does not pass, and FINDINGS.md has no line for it: {outcomes[test]}"
                    for test in sorted(set(outcomes) - passed - allow) if f"`{test}`" not in known]
    print("\n".join(differences + [f"{suite}: {len(passed)} of {len(outcomes)} pass; "
                                   f"{len(differences)} not as expected"]), flush=True)
    return 1 if differences else 0
