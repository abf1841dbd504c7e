"""What runs in the device's own shell: POSIX sh, with no more than a small board's or a phone's tools.

Values come in quoted by `shlex`; every answer carries a token made for this one call, so that a truncated one, or one to
another call, is not taken for it. A run's own output comes first, then the token, the exit code and the end of stderr: exit
codes need no help from ssh or adb, and the two streams stay apart where adb would mix them.

`$base` is edgekd's folder on the device: `lock` (a symbolic link, because making one is atomic and carries a text: owner, boot,
time it lasts to), `job-…` (the working folder) and `site` (what `devices setup` put there). Time is the time since boot: a
board without a battery changes its clock when it finds the network.
"""

import shlex
from collections.abc import Sequence

ERR_BYTES = 65_536
IDLE_S = 300
"""How long a lock lasts after its owner was last heard of, beyond the time limit of what it runs."""

# Everything that an owner started carries its mark in the environment, however far it has gone from its parent: the owner's name,
# then the call's token, so that a meter may be read beside a run, and its end is not the run's. The mark is put
# together here and there, never written out: under sshd's ForceCommand the script itself is in its shell's environment.
COMMON = """\
now() { cut -d. -f1 /proc/uptime 2>/dev/null || date +%s; }
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo none)
end_marked() {
  for turn in 1 2 3; do
    found=$(grep -lsF "EDGEKD_RUN=run-$1" /proc/[0-9]*/environ 2>/dev/null)
    [ -n "$found" ] || return 0
    for file in $found; do file=${file#/proc/}; kill -9 "${file%/environ}" 2>/dev/null; done
  done
}
"""


def opening(base: str, *, owner: str, seconds: int, folder: str, token: str, gone: str = "") -> str:
    """Take the device and make the working folder. `base` is shell text; `gone` an owner that is known to live no more."""
    return f"""\
umask 077
export LC_ALL=C
{COMMON}base={base}
say() {{ printf '%s\\n' {q(token)} "$@"; exit 0; }}
command -v timeout >/dev/null 2>&1 || say no-timeout
told=$( {{ mkdir -p "$base" && cd "$base"; }} 2>&1 ) || say unwritable "$told"
cd "$base"
held=$(readlink lock)
if [ -n "$held" ]; then
  owner=${{held%%:*}} rest=${{held#*:}}
  if [ "${{rest%%:*}}" != "$boot" ] || [ "${{rest##*:}}" -lt "$(now)" ] || [ "$owner" = {q(gone)} ]; then
    mv -f lock "stale.$$" 2>/dev/null && end_marked "$owner"
    rm -f "stale.$$"
  fi
fi
told=$(ln -s {q(owner)}":$boot:$(( $(now) + {seconds} ))" lock 2>&1) || {{
  held=$(readlink lock) || say unwritable "$told"
  say busy "$held" "$(now)"
}}
rm -rf job-*
told=$(mkdir {q(folder)} 2>&1) || {{ rm -f lock; say unwritable "$told"; }}
grace=; timeout -k 1 1 true 2>/dev/null && grace=5
say open "$boot" "$(uname -m)" "$(command -v python3 || command -v python)" "$grace" "$(pwd)"
"""


def owned(base: str, *, owner: str, folder: str, token: str, seconds: int) -> str:
    """The start of every later script: go into the folder, make sure that it is still ours, and keep it so for `seconds`."""
    return f"""\
umask 077
export LC_ALL=C
{COMMON}tell() {{ printf '\\n%s %s\\n' {q(token)} "$*"; }}
cd {q(base)} 2>/dev/null || {{ tell taken; exit 0; }}
held=$(readlink lock)
[ "${{held%%:*}}" = {q(owner)} ] && [ -d {q(folder)} ] || {{ tell taken; exit 0; }}
ln -s {q(owner)}":$boot:$(( $(now) + {seconds} ))" "lock.$$" 2>/dev/null && mv -f "lock.$$" lock
base=$(pwd)
cd {q(folder)} || exit 0
"""


def running(argv: Sequence[str], *, owner: str, token: str, seconds: float, grace: str, limit: int) -> str:
    """Run a command: its stdout (at most `limit` bytes), then the token, its exit code and the end of its stderr.

    `timeout` on the device ends it even where the connection is gone; `end_marked` ends what it left in the background.
    """
    mark = q(f"{owner}.{token}")
    kill = f"-k {q(grace)} " if grace else ""
    return f"""\
if [ -d "$base/site" ]; then PYTHONPATH="$base/site${{PYTHONPATH:+:$PYTHONPATH}}"; export PYTHONPATH; fi
exec 4>&1
end=$( {{ {{ {{
  EDGEKD_RUN="run-"{mark} timeout {kill}{max(1, round(seconds))} {shlex.join(argv)} </dev/null 3>&- 4>&- 5>&-
  echo $? >&5
  end_marked {mark} >/dev/null
}} 2>&1 1>&3 4>&- | tail -c {ERR_BYTES} >&5 3>&-; }} 3>&1 | head -c {limit + 1} >&4; }} 5>&1 )
exec 4>&-
tell "$end"
"""


def receiving(remote: str) -> str:
    """Write standard input to a file; tells its size and what was wrong."""
    name = q("./" + remote)
    return f"""\
told=$( {{ mkdir -p {q("./" + parent(remote))} && rm -rf {name} && cat > {name}; }} 2>&1 )
tell "$(wc -c < {name} 2>/dev/null | tr -d ' ')" "$told"
"""


def arrived(remote: str) -> str:
    """Tell the size of a file that was copied by other means."""
    return f"tell \"$(wc -c < {q('./' + remote)} 2>/dev/null | tr -d ' ')\"\n"


def sending(remote: str) -> str:
    """Tell a file's size, then its bytes, then the token once more."""
    name = q("./" + remote)
    return f"""\
{{ [ -f {name} ] && [ ! -L {name} ]; }} || {{ tell none; exit 0; }}
tell "$(wc -c < {name} | tr -d ' ')"
cat {name}
tell end
"""


def making(folder: str) -> str:
    return f'told=$(mkdir -p {q("./" + folder)} 2>&1)\ntell "$?" "$told"\n'


def stopping(owner: str) -> str:
    """End what still runs; the folder stays."""
    return f"end_marked {q(owner)}\ntell done\n"


def closing(base: str, *, owner: str, folder: str, token: str) -> str:
    """End what still runs, remove the folder, and let go of the device where it is still ours."""
    return f"""\
{COMMON}cd {q(base)} || exit 0
end_marked {q(owner)}
rm -rf {q(folder)}
held=$(readlink lock)
[ "${{held%%:*}}" != {q(owner)} ] || rm -f lock
printf '\\n%s done\\n' {q(token)}
"""


def parent(remote: str) -> str:
    return remote.rpartition("/")[0] or "."


q = shlex.quote
