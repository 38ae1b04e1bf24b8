"""The steps of a change: checks on staged files, saving what was, and everything that touches the live host."""

import os

from applier.accounts import Accounts, account_now, mend_account
from applier.commands import must, run
from applier.files import look, make_folder, open_folder, remove, remove_tree, write_file
from applier.findings import Run
from applier.journal import Journal
from applier.plan import Plan
from applier.records import STAGE
from applier.repairs import repair
from applier.request import Request, command_seconds
from applier.units import mend_unit, query_units, released, systemctl, unit_faults
from applier.words import Failure, quote


def stage_and_check(request: Request, plan: Plan) -> None:
    root = f"{STAGE}/{request.layer}"
    remove_tree(STAGE)
    os.makedirs(root, 0o700)
    try:
        for spec in request.declared.get("files") or []:
            write_file(root + spec["path"], plan.data[spec["path"]], int(spec["mode"], 8),
                       plan.accounts.uid(spec["owner"]) or 0, plan.accounts.gid(spec["group"]) or 0, [])
        for check in request.declared.get("checks") or []:
            argv = [argument.replace("{stage}", root) for argument in check["argv"]]
            if os.path.basename(argv[0]) == "sshd":
                os.close(open_folder("/run/sshd", []))  # sshd checks nothing without it
            done = run(argv, seconds=command_seconds(request.declared))
            if done.code != 0:
                raise Failure(f"check failed, nothing was changed: {done.words().replace(root, '')}")
    finally:
        remove_tree(STAGE)


def save_what_was(journal: Journal, plan: Plan) -> None:
    manifest = journal.manifest
    manifest["groups"] = list(plan.groups)
    manifest["users"] = [account_now(user["name"], plan.accounts) for user in plan.users]
    missing: set[str] = set()
    for path in plan.placed():
        # Folders on the way that do not exist yet are made, and go again if the change goes.
        parent = os.path.dirname(path)
        chain: list[str] = []
        while parent != "/" and parent not in missing and look(parent, read=False).kind == "missing":
            chain.insert(0, parent)
            parent = os.path.dirname(parent)
        for folder in chain:
            missing.add(folder)
            journal.save(folder)
        if path not in missing:
            missing.add(path)
            journal.save(path)
    for path in plan.removals + plan.saved_repairs():
        journal.save(path)
    names = [unit["name"] for unit in plan.units + plan.retired]
    manifest["units"] = [{"name": name, "state": plan.states[name]} for name in names]
    journal.seal()


def change(request: Request, plan: Plan, journal: Journal) -> None:
    """Everything that touches the live host."""
    accounts = make_accounts(request, plan)
    for unit in plan.retired:
        systemctl("disable", "--now", unit["name"])
    put_in_place(plan, accounts)
    if reload_quickly(request, plan):
        return
    take_away(plan)
    if plan.unit_files():
        systemctl("daemon-reload")
    mend_units(request, plan, journal)
    reload(request, plan)


def make_accounts(request: Request, plan: Plan) -> Accounts:
    for name in plan.groups:
        must(f"making the group {quote(name)}",
             ["groupadd"] + (["--system"] if name in plan.system_groups else []) + [name])
    accounts = Accounts() if plan.groups else plan.accounts
    for user in plan.users:
        mend_account(user, accounts, request.hashes)
        accounts = Accounts()
    return accounts


def put_in_place(plan: Plan, accounts: Accounts) -> None:
    for spec in plan.folders:
        make_folder(spec["path"], int(spec["mode"], 8), *accounts.ids(spec))
    for spec in plan.files:
        write_file(spec["path"], plan.data[spec["path"]], int(spec["mode"], 8), *accounts.ids(spec), [])


def reload_quickly(request: Request, plan: Plan) -> bool:
    """The short way of a layer that has one, where its file is all that changes; says whether all is as declared then."""
    if not plan.quick() or run(request.declared["quick"]["argv"], seconds=command_seconds(request.declared)).code != 0:
        return False
    plan.running()
    plan.repairs = [how for how in plan.repairs if isinstance(how, Run)]  # of anything else nothing was saved
    return not plan.units and not plan.probes


def take_away(plan: Plan) -> None:
    for path in plan.removals:
        remove(path)
    for how in plan.repairs:
        repair(how, plan.host)


def mend_units(request: Request, plan: Plan, journal: Journal) -> None:
    units = request.declared.get("units") or []
    if not units or not (plan.units or plan.reloads()):
        return
    states = query_units([unit["name"] for unit in units])
    known = {unit["name"] for unit in journal.manifest["units"]}
    for unit in units:
        name = unit["name"]
        if released:
            states.update(query_units([name]))
        if unit_faults(unit, states[name]):
            if name not in known:  # the new files made the difference
                journal.manifest["units"].append({"name": name, "state": plan.states[name]})
                journal.seal()
            try:
                mend_unit(unit, states[name])
            except Failure as failure:
                raise Failure(f"unit {quote(name)}: {failure}") from None
    decided = {unit["name"] for unit in units if unit.get("active") is not None or unit.get("masked")}
    for service in released:
        if service not in decided:
            systemctl("start", service)


def reload(request: Request, plan: Plan) -> None:
    if plan.reloads():
        for argv in request.declared.get("reload") or []:
            must("reload", argv, seconds=command_seconds(request.declared))
