# What a board is, has, and has of us: lines `fact KEY=VALUE`. Changes nothing. POSIX sh, of busybox as well.
# Before it stand: home_of_code, launcher, unit, gadget, start, sys (paths), configs (paths), port_hex, python (a path or nothing), host_file (a name).
set -u
PATH=$PATH:/usr/local/bin:/usr/sbin:/sbin
say() { printf 'fact %s=%s\n' "$1" "$2"; }
hash_of() { $as sha256sum "$1" 2>/dev/null | cut -d' ' -f1; }

uid=$(id -u) home=$(cd && pwd)
say kernel "$(uname -s)"
say name "$(uname -n)"
say user "$(id -un)"
say uid "$uid"
say clock "$(date +%s)"
set -- ${SSH_CONNECTION:-}
say address "${3:-$(ip -o addr show scope global 2>/dev/null | awk '{ sub("/.*", "", $4); print $4; exit }')}"

as=''
if [ "$uid" = 0 ]; then
    say root root
elif sudo -n true 2>/dev/null; then
    say root sudo
    as='sudo -n'
elif command -v sudo >/dev/null; then
    say root password
else
    say root none
fi

if [ -d /run/systemd/system ]; then say init systemd; else say init other; fi
if command -v tar >/dev/null; then say tar yes; fi
say mount "$(awk '$2 == "/" { told = $1 " " $4 } END { print told }' /proc/mounts)"
place=$home_of_code
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
say free_kb "$(df -Pk "$place" | awk 'END { print $4 }')"
if $as test -w "$place"; then say writable yes; fi
say state_free_kb "$(df -Pk "$home" | awk 'END { print $4 }')"

for each in ${python:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    path=$(command -v "$each") || continue
    "$path" -I -c '
import os, platform, re, struct, subprocess, sys, sysconfig
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (ValueError, OSError):
    libc = ""
if not libc:
    for each in sorted(os.listdir("/lib")):
        if each.startswith("ld-musl-"):
            told = subprocess.Popen(["/lib/" + each], stderr=subprocess.PIPE).communicate()[1].decode()
            libc = "musl " + (re.findall("Version ([0-9.]+)", told) or [""])[0]
machine, narrow = platform.machine(), struct.calcsize("P") == 4
if narrow:
    machine = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
if narrow and machine.startswith("armv") and "hf" not in (sysconfig.get_config_var("HOST_GNU_TYPE") or "hf"):
    machine += "_soft"
lacks = []
try:
    import ssl
    if not ssl.HAS_TLSv1_3: lacks.append("TLS 1.3")
except Exception:
    lacks.append("ssl")
threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
fields = [os.path.realpath(sys.executable), platform.python_implementation(), platform.python_version(), threaded]
print("fact python=" + "\t".join(fields + [machine, libc.strip(), ",".join(lacks)]))
' 2>/dev/null
done

for folder in "$home_of_code"/*/; do
    [ -f "$folder/SHA256SUMS" ] || continue
    if (cd "$folder" && sha256sum -c SHA256SUMS >/dev/null 2>&1); then say release "$(basename "$folder")"; fi
    say left "$(basename "$folder")"
done
for file in "$launcher" "$unit" "$gadget" "$start"; do
    [ -e "$file" ] && say file "$(hash_of "$file") $file"
done

say called "$(sed -n "s/.* --name '*\([A-Za-z0-9._@-]*\).*/\1/p" "$unit" "$start" 2>/dev/null | head -n 1)"

say runs_as "$(sed -n 's/^User=//p' "$unit" 2>/dev/null)"

# The state is the user's; a service of another name, or another user's, is not ours.
if [ "$uid" = 0 ]; then state=/var/lib/bootloader; else state=${XDG_STATE_HOME:-$home/.local/state}/bootloader; fi
# Quoted it is taken whole, else up to the space; what is neither is no path, and nothing is done to it.
told=$(sed -n "s/.* --state[= ] *'\([^']*\)'\( .*\)*$/\1/p; t
    s/.* --state[= ] *\([^ ]*\).*/\1/p" "$unit" "$start" 2>/dev/null | head -n 1)
case $told in *[\'\"\\\$%]*) told='?' ;; esac
state=${told:-$state}
say state "$state"
[ -d "$state" ] && say kept "$(du -sk "$state" 2>/dev/null | cut -f1)"
for file in "$state/trust/hosts/$host_file".crt "$state/trust/hosts/$host_file"-*.crt; do
    [ -f "$file" ] && say obeys "$(sed -n '/^-----BEGIN/,/^-----END/p' "$file" | tr '\n' '|')"
done
[ -f "$state/trust/device.crt" ] && say device "$(sed -n '/^-----BEGIN/,/^-----END/p' "$state/trust/device.crt" | tr '\n' '|')"

if [ -d /run/systemd/system ]; then
    systemctl is-active --quiet bootloader && say runs yes
    systemctl is-enabled --quiet bootloader 2>/dev/null && say enabled yes
elif [ -x "$start" ] && "$start" status >/dev/null 2>&1; then
    say runs yes
fi

# What a USB gadget needs: the kernel's part, a port that can be a device's, and the right to the gadget's serial port.
modules=/lib/modules/$(uname -r)
if [ -d /sys/kernel/config/usb_gadget ] || grep -qs libcomposite "$modules/modules.builtin" ||
    [ -n "$(find "$modules/" -name 'libcomposite.ko*' 2>/dev/null)" ]; then say gadgets yes; fi
for each in "$sys"/class/udc/*; do
    [ -e "$each" ] && say controller "$(basename "$each")"
done
for each in $configs; do
    [ -f "$each" ] || continue
    each=$(readlink -f "$each")
    say config "$each"
    if grep -q '^# live-reactor:' "$each"; then say told yes; fi
    if [ "$(wc -c <"$each")" -gt 262144 ]; then say odd large; fi
    if [ "$uid" = 0 ] || [ "$as" ]; then $as test -w "$each" || say odd read-only; fi
    break
done
# As a device's, a Raspberry Pi's own port has none of what hangs on it now: on models B up to the third, its Ethernet.
for each in "$sys"/bus/platform/drivers/dwc2/*.usb "$sys"/bus/platform/drivers/dwc_otg/*.usb; do
    [ -d "$each" ] || continue
    held=$(find "$(readlink -f "$each")"/usb* \( -path '*/net/*' -o -path '*/block/*' \) -prune 2>/dev/null | head -n 1)
    [ -z "$held" ] || say holds "$(basename "$held")"
done
for each in dialout uucp; do
    if grep -qs "^$each:" /etc/group; then say group "$each"; break; fi
done
say gadget_state "$(systemctl is-active bootloader-gadget 2>/dev/null)"
systemctl is-enabled --quiet bootloader-gadget 2>/dev/null && say gadget_enabled yes

awk -v end=":$port_hex" '$4 == "0A" && substr($2, length($2) - 4) == end { print "fact taken=yes"; exit }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null
say looked yes
