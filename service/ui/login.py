"""The doors: sign in, sign out, first administrator, theme, and the addresses Kestra's own pages had."""

from __future__ import annotations

from urllib.parse import quote

from flask import Response, current_app, request

from namespaces.errors import InvalidInput, NotFound, TooMany
from service.api.context import lanner
from service.auth.accounts import Accounts
from service.auth.endpoints import AUTHENTICATED, PUBLIC
from service.auth.gate import clear_session_cookies, require_same_origin, set_session_cookie
from service.ui.site import ENDPOINTS, THEME_COOKIE, THEMES, blueprint, own_path, page, redirect, render, url


def _accounts() -> Accounts:
    accounts: Accounts = current_app.extensions["lanner.accounts"]
    return accounts


def _open() -> bool:
    return bool(lanner().settings.auth.mode == "none")


@blueprint.get("/")
def root() -> Response:
    return redirect(url("home"))


ENDPOINTS["ui.root"] = PUBLIC


@page("/", AUTHENTICATED)
def home() -> Response:
    """The flows, until there is a dashboard."""
    return redirect(url("flows"))


@page("/login", PUBLIC, methods=("GET", "POST"))
def login() -> Response:
    target = own_path(request.values.get("next")) or url("home")
    if _open():
        return redirect(target)
    if not _accounts().initialized:
        return redirect(url("setup"))
    if request.method == "GET":
        return _login_page(target)
    require_same_origin()
    username, password = request.form.get("username", "").strip(), request.form.get("password", "")
    try:
        right = len(username) <= 256 and len(password) <= 256
        right = right and _accounts().check(username, password, request.remote_addr or "")
    except TooMany:
        return _login_page(target, "Too many failed logins. Wait a minute, then try again.", username, 429)
    if not right:
        return _login_page(target, "User name or password is wrong.", username, 422)
    session_id, _ = _accounts().open_session(username)
    response = redirect(target)
    set_session_cookie(response, session_id)
    return response


def _login_page(target: str, fault: str = "", username: str = "", status: int = 200) -> Response:
    return render("login.html", status, target=target, fault=fault, username=username)


@page("/logout", AUTHENTICATED, methods=("POST",))
def logout() -> Response:
    response = redirect(url("login"))
    for name in ("__Host-lanner_session", "lanner_session"):
        if name in request.cookies:
            _accounts().close_session(request.cookies[name])
    clear_session_cookies(response)
    return response


@page("/setup", PUBLIC, methods=("GET", "POST"))
def setup() -> Response:
    """The first administrator, for whoever can read the token on the server's console."""
    if _open() or _accounts().initialized:
        raise NotFound("The set-up is done.", hint="sign in instead")
    if request.method == "GET":
        return render("setup.html", faults=[], username="", token=request.args.get("token", ""))
    require_same_origin()
    token, username = request.form.get("token", "").strip(), request.form.get("username", "").strip()
    password = request.form.get("password", "")
    faults = []
    if password != request.form.get("again", ""):
        faults = [("again", "The two passwords differ.")]
    else:
        try:
            _accounts().setup(token, username, password)
        except NotFound:
            faults = [("token", "This token is not the one on the console, or it has expired after 30 minutes.")]
        except InvalidInput as error:
            said = error.message.removeprefix("Invalid entity: ").replace(" for Basic Authentication", "")
            faults = [("password" if "assword" in said else "username", said)]
    if faults:
        return render("setup.html", 422, faults=faults, username=username, token=token)
    session_id, _ = _accounts().open_session(username)
    response = redirect(url("home"))
    set_session_cookie(response, session_id)
    return response


@page("/theme", PUBLIC, methods=("POST",))
def theme() -> Response:
    """Light, dark or what the system says; kept in a cookie, so that the first paint is right."""
    require_same_origin()
    wanted = request.form.get("theme", "")
    response = redirect(own_path(request.form.get("back")) or url("home"))
    if wanted in THEMES:
        response.set_cookie(THEME_COOKIE, wanted, max_age=365 * 86_400, samesite="Lax", path="/")
    return response


@page("/main", AUTHENTICATED)
def kestra_home() -> Response:
    return redirect(url("home"))


@page("/main/<path:rest>", AUTHENTICATED)
def kestra_page(rest: str) -> Response:
    """The addresses of Kestra's pages lead to ours."""
    parts = rest.strip("/").split("/")
    if parts[:2] == ["flows", "edit"]:
        parts = ["flows", *parts[2:]]
    if len(parts) == 4 and parts[0] == "flows" and parts[3] == "edit":
        parts[3] = "source"
    target = "/ui/" + "/".join(quote(part, safe="") for part in parts)
    query = request.query_string.decode("ascii", "ignore")
    return redirect(target + (f"?{query}" if query else ""))
