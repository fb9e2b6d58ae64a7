# SPDX-License-Identifier: Apache-2.0
"""Installs what versions.txt names with its own package managers, below build/peers (or the directory
that WEIR_PEERS names). Nothing is installed twice unless its lines changed.

Debian's packages go into a root of their own (debootstrap), so that the machine's are not touched and
the newest can be had on an older system; that, and nothing else here, needs root."""
import glob
import os
import shutil
import subprocess
import tarfile

from machine import Failure

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
CACHE = os.environ.get("WEIR_PEERS", os.path.join(ROOT, "build", "peers"))
MIRROR = "http://deb.debian.org/debian"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>peers</groupId><artifactId>peers</artifactId>
<version>1</version><dependencies>%s</dependencies></project>
"""
DEPENDENCY = ("<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version>"
              "</dependency>")


def pins(name, manager=None):
    """(package, version), in the order of the file."""
    found = []
    with open(os.path.join(HERE, "versions.txt")) as file:
        for line in file:
            words = line.split()
            if words and words[0] == name and manager in (None, words[1]):
                found.append((words[2], words[3]))
    return found


def place(name, *more):
    return os.path.join(CACHE, name, *more)


def call(*command, cwd=None, env=None):
    """What the command prints; a Failure with its last lines when it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise Failure(f"{' '.join(command)} failed: {' '.join(done.stdout.split())[-400:]}")
    return done.stdout


def once(name, what, steps):
    """Runs steps(directory) in a fresh directory, unless it was done for the same lines before."""
    where = place(name)
    mark = os.path.join(where, "installed")
    text = "\n".join([*what, ""])
    if not os.path.exists(mark) or read(mark) != text:
        print(f"installing {name}", flush=True)
        shutil.rmtree(where, ignore_errors=True)
        os.makedirs(where)
        steps(where)
        with open(mark, "w") as file:
            file.write(text)
    return where


def read(path):
    with open(path) as file:
        return file.read()


def lines(name, manager):
    found = [f"{manager} {package} {version}" for package, version in pins(name, manager)]
    if not found:
        raise Failure(f"versions.txt has no {manager} line for {name}")
    return found


def jars(name):
    """The Maven packages and all they need; returns the class path."""
    def steps(where):
        dependencies = [DEPENDENCY % (*package.split(":"), version) for package, version in pins(name, "maven")]
        with open(os.path.join(where, "pom.xml"), "w") as file:
            file.write(POM % "".join(dependencies))
        call("mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars", cwd=where)

    where = once(name, lines(name, "maven"), steps)
    return ":".join(sorted(glob.glob(os.path.join(where, "jars", "*.jar"))))


def go_programs(name):
    """Programs of Go modules. Returns their directory."""
    def steps(where):
        for package, version in pins(name, "go"):
            call("go", "install", f"{package}@{version}", env={**os.environ, "GOBIN": where})

    return once(f"{name}-go", lines(name, "go"), steps)


def go_client(name, source):
    """A program of ours, compiled against the newest client library. Returns its path and the
    library's version."""
    def steps(where):
        shutil.copy(os.path.join(HERE, source), os.path.join(where, "main.go"))
        with open(os.path.join(where, "go.mod"), "w") as file:
            file.write("module peers\n")
        for package, version in pins(name, "module"):
            call("go", "get", f"{package}@{version}", cwd=where)
        call("go", "mod", "tidy", cwd=where)
        call("go", "build", "-o", "program", ".", cwd=where)

    what = [*lines(name, "module"), read(os.path.join(HERE, source))]
    where = once(f"{name}-client", what, steps)
    package = pins(name, "module")[0][0]
    return os.path.join(where, "program"), call("go", "list", "-m", "-f", "{{.Version}}", package, cwd=where).strip()


def go_version(program):
    """The version of the module that a program was installed from."""
    for line in call("go", "version", "-m", program).splitlines():
        words = line.split()
        if words[:1] == ["mod"]:
            return words[2].lstrip("v")
    return "unknown"


def debian(*names):
    """A root directory with the packages of all names: one for all, as most of it is shared."""
    wanted = [pin for name in names for pin in pins(name, "debian")]
    suite = wanted[0][1]

    def steps(where):
        if os.geteuid() != 0:
            raise Failure("Debian's packages need root")
        packages = ",".join(package for package, _ in wanted)
        call("debootstrap", "--variant=minbase", f"--include={packages}", suite, os.path.join(where, "root"), MIRROR)

    return os.path.join(once("debian", [f"{package} {version}" for package, version in wanted], steps), "root")


def debian_version(root, package):
    text = call("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Version}", package)
    return text.split(":")[-1].split("-")[0].split("+")[0]


def debian_source(package, suite, where):
    """The upstream archive of a Debian source package; needs neither root nor a line in sources.list."""
    os.makedirs(os.path.join(where, "lists", "partial"))
    os.makedirs(os.path.join(where, "cache", "archives", "partial"))
    sources = os.path.join(where, "sources.list")
    with open(sources, "w") as file:
        file.write(f"deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {MIRROR} {suite} main\n")
    options = []
    for key, value in (("Dir::Etc::sourcelist", sources), ("Dir::Etc::sourceparts", "-"),
                       ("Dir::State::lists", os.path.join(where, "lists")),
                       ("Dir::Cache", os.path.join(where, "cache")), ("Dir::State::status", "/dev/null")):
        options += ["-o", f"{key}={value}"]
    call("apt-get", *options, "update", cwd=where)
    call("apt-get", *options, "source", "--download-only", package, cwd=where)
    return glob.glob(os.path.join(where, f"{package}_*.orig.tar.*"))[0]


def librdkafka():
    """The directory with rdkafka_performance and rdkafka_single, and the library's version.

    The newest sources are those inside the JavaScript client's package, which leaves the examples out;
    rdkafka_performance is therefore the newest of Debian's, unmodified, on the newest library."""
    single = read(os.path.join(HERE, "rdkafka_single.c"))

    def steps(where):
        (package, version), = pins("librdkafka", "npm")
        call("npm", "pack", f"{package}@{version}", cwd=where)
        unpack(glob.glob(os.path.join(where, "*.tgz"))[0], where, "deps/librdkafka/")
        source = os.path.join(where, "package", "deps", "librdkafka")
        call("bash", "./configure", "--disable-ssl", "--disable-gssapi", "--disable-curl", "--disable-zstd",
             "--disable-lz4-ext", cwd=source)
        os.mkdir(os.path.join(where, "include"))
        os.symlink(os.path.join(source, "src"), os.path.join(where, "include", "librdkafka"))
        call("make", f"-j{os.cpu_count()}", "-C", "src", "librdkafka.a", cwd=source)
        (package, suite), = pins("librdkafka", "source")
        unpack(debian_source(package, suite, where), where, "examples/rdkafka_performance.c")
        for program in (glob.glob(os.path.join(where, "*", "examples", "rdkafka_performance.c"))[0],
                        os.path.join(HERE, "rdkafka_single.c")):
            output = os.path.join(where, os.path.basename(program)[:-2])
            call("cc", "-O2", "-w", "-I", os.path.join(source, "src"), "-I", os.path.join(where, "include"), program, "-o", output,
                 os.path.join(source, "src", "librdkafka.a"), "-lpthread", "-lz", "-ldl", "-lm", "-lrt")

    where = once("librdkafka", [*lines("librdkafka", "npm"), *lines("librdkafka", "source"), single], steps)
    with open(os.path.join(where, "package", "deps", "librdkafka", "CHANGELOG.md")) as file:
        version = file.readline().split()[-1].lstrip("v")
    return where, version


def unpack(archive, where, part):
    """Members of an archive whose path has `part` in it."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if part in member.name]
        if not members:
            raise Failure(f"{os.path.basename(archive)} has no {part}")
        tar.extractall(where, members=members)
