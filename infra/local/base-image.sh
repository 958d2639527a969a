#!/bin/sh
# Makes a replacement for public.ecr.aws/lambda/provided:al2023 from this machine's own files, for
# machines that cannot reach a container registry.
#
#   infra/local/base-image.sh EXECUTABLE...
#
# EXECUTABLE... are the programs that will run in it: the libraries that they load are copied from
# this machine, so the image only fits binaries that were built here. Amazon's image has an older C
# library and more programs: a program that runs in this image may still fail on AWS.
#
# It needs docker, tar, and busybox from Debian's package busybox-static. An existing image of that
# name is kept: it is Amazon's, or was made before.
set -eu

case $(uname -m) in
    x86_64) architecture=x86_64 ;;
    aarch64) architecture=arm64 ;;
    *)
        echo "base-image: Lambda does not know the architecture $(uname -m)" >&2
        exit 1
        ;;
esac
image=public.ecr.aws/lambda/provided:al2023-$architecture
if docker image inspect "$image" >/dev/null 2>&1; then
    echo "$image is there already"
    exit 0
fi
[ $# -gt 0 ] || {
    echo 'base-image: name the executables that shall run in the image' >&2
    exit 1
}
busybox=$(command -v busybox) && ! ldd "$busybox" >/dev/null 2>&1 || {
    echo 'base-image: a static busybox is missing: install busybox-static' >&2
    exit 1
}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/etc/ssl/certs" "$root/opt" "$root/tmp" "$root/var/runtime" "$root/var/task"
chmod 755 "$root"
chmod 1777 "$root/tmp"

# The SAM CLI adds Lambda's emulator to the image, with a shell, mv and chmod.
cp "$busybox" "$root/bin/busybox"
for program in sh mv chmod cp rm ls cat env; do
    ln -s busybox "$root/bin/$program"
done

# Each library stays at its path, where the loader looks for it. Its own path is the one without `=>`.
for executable in "$@"; do
    ldd "$executable"
done | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | sort -u |
    while read -r library; do
        mkdir -p "$root${library%/*}"
        cp -L "$library" "$root$library"
    done

cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"

# The variables that Lambda's runtime finds in Amazon's image.
tar -C "$root" -c . | docker import \
    --change 'ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime' \
    --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin LANG=en_US.UTF-8 TZ=UTC' \
    --change 'ENV LD_LIBRARY_PATH=/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib' \
    --change 'WORKDIR /var/task' \
    - "$image" >/dev/null
echo "made $image"
