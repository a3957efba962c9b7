"""Reading recipes: what every kind of file says, with the exact place of each word."""

import json
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import KitError
from kit.recipes.model import Recipe
from kit.recipes.reading import kind_of, python_files, read, recipe_files

PYTORCH = "https://download.pytorch.org/whl"


def sound(recipe):
    """Every word, package and option stands where it says."""
    text = recipe.text
    for command in recipe.commands:
        for word in command.words:
            assert text[word.span.start : word.span.end] == word.raw
        assert 0 <= command.span.start <= command.span.end <= len(text)
        assert 0 <= command.stage < len(recipe.stages)
    for install in recipe.installs:
        for package in install.packages:
            assert package.file or text[package.span.start : package.span.end] == package.raw
        o = install.options
        for word in (*o.addresses, *o.channels, *o.global_options, *o.config_settings, *o.requirement_files):
            assert text[word.span.start : word.span.end] == word.raw
    for one in (*recipe.settings, *recipe.stages):
        assert 0 <= one.span.start <= one.span.end <= len(text)
    for _, span in recipe.places:
        assert 0 <= span.start <= span.end <= len(text)
    assert all(1 <= one.line <= text.count("\n") + 1 for one in recipe.unread)
    return recipe


def recipe(path, text):
    return sound(read(path, textwrap.dedent(text)))


def dockerfile(text):
    return recipe("nowhere/Dockerfile", text)


def shell(text):
    return recipe("nowhere/setup.sh", text)


def texts(recipe):
    """The commands in order, each with the operator before it; unknown words end in a question mark."""
    return [
        (c.after + " " if c.after else "") + " ".join(w.text + "?" * (not w.known) for w in c.words)
        for c in recipe.commands
    ]


def packages(install):
    return [p.name + p.specifier + "?" * (not p.known) for p in install.packages]


def written(recipe, words):
    """What stands in the file at the places of words."""
    return [recipe.at(word.span) for word in words]


# -- Dockerfiles -----------------------------------------------------------------------------------------------------


GPU = """\
    # syntax=docker/dockerfile:1
    ARG CUDA=12.1.1
    ARG FLAVOUR
    FROM --platform=linux/amd64 nvidia/cuda:${CUDA}-devel-ubuntu22.04 AS build
    ARG TORCH=2.1.0
    ARG CUDA
    ENV TORCH_CUDA_ARCH_LIST="8.0 9.0+PTX" \\
        # of the machine in the cellar
        PIP_FIND_LINKS=https://data.pyg.org/whl/torch-${TORCH}+cu121.html
    ENV GREETING hello to you
    RUN apt-get update \\
        # compilers

        && apt-get install -y --no-install-recommends g++ python3.10-venv=3.10.6* \\
        && rm -rf /var/lib/apt/lists/*
    RUN --mount=type=cache,target=/root/.cache FORCE_CUDA=1 pip install -q "torch==${TORCH}+cu121" \\
          --index-url=https://download.pytorch.org/whl/cu121 && pip install torch-scatter
    USER trainer

    FROM build AS final
    RUN ["pip", "install", "numpy<2"]
    COPY --from=build /x /x
    FROM pytorch/pytorch:${FLAVOUR}
    RUN pip install torch==$NOBODY_SETS_IT
    """


def test_a_dockerfile_has_stages_with_parents_images_and_users():
    found = dockerfile(GPU)
    build, final, other = found.stages
    assert (build.image, build.name, build.parent, build.user) == (
        "nvidia/cuda:12.1.1-devel-ubuntu22.04",
        "build",
        None,
        "trainer",
    )
    assert (final.image, final.name, final.parent, final.user) == (None, "final", 0, "trainer")
    assert found.image(1) == "nvidia/cuda:12.1.1-devel-ubuntu22.04"
    assert (other.image, other.parent) == (None, None)
    assert found.at(found.place("stages", 0, "image")) == "nvidia/cuda:${CUDA}-devel-ubuntu22.04"
    assert found.at(build.span).startswith("FROM --platform") and found.at(build.span).endswith("AS build")
    assert found.unread == ()


def test_a_dockerfile_has_the_commands_of_its_shells_in_order():
    found = dockerfile(GPU)
    assert texts(found) == [
        "apt-get update",
        "&& apt-get install -y --no-install-recommends g++ python3.10-venv=3.10.6*",
        "&& rm -rf /var/lib/apt/lists/*",
        "pip install -q torch==2.1.0+cu121 --index-url=https://download.pytorch.org/whl/cu121",
        "&& pip install torch-scatter",
        "pip install numpy<2",
        "pip install torch==$NOBODY_SETS_IT?",
    ]
    assert [c.group for c in found.commands] == [0, 0, 0, 1, 1, 2, 3]
    assert [c.stage for c in found.commands] == [0, 0, 0, 0, 0, 1, 2]
    assert found.at(found.commands[4].span) == "pip install torch-scatter"


def test_variables_of_a_dockerfile_reach_what_comes_after_them_and_prefixes_one_command():
    found = dockerfile(GPU)
    torch, scatter, numpy = found.commands[3:6]
    arch = scatter.variable("TORCH_CUDA_ARCH_LIST")
    assert (arch.value, arch.how) == ("8.0 9.0+PTX", "env")
    assert found.at(arch.span) == 'TORCH_CUDA_ARCH_LIST="8.0 9.0+PTX"'
    assert torch.variable("FORCE_CUDA").how == "prefix" and scatter.variable("FORCE_CUDA") is None
    assert torch.variable("CUDA").value == "12.1.1", "named again in the stage, it has the value from before FROM"
    assert numpy.variable("GREETING").value == "hello to you", "the stage goes on from the one that sets it"
    assert numpy.variable("TORCH") is None, "a build argument ends with its stage"
    assert found.commands[6].variable("TORCH_CUDA_ARCH_LIST") is None
    assert [(s.name, s.how) for s in found.settings] == [
        ("CUDA", "arg"),
        ("FLAVOUR", "arg"),
        ("TORCH", "arg"),
        ("CUDA", "arg"),
        ("TORCH_CUDA_ARCH_LIST", "env"),
        ("PIP_FIND_LINKS", "env"),
        ("GREETING", "env"),
        ("FORCE_CUDA", "prefix"),
    ]


def test_installs_of_a_dockerfile():
    found = dockerfile(GPU)
    apt, torch, scatter, numpy, last = found.installs
    assert (apt.tool, packages(apt)) == ("apt", ["g++", "python3.10-venv=3.10.6*"])
    assert (torch.tool, packages(torch), torch.stage) == ("pip", ["torch==2.1.0+cu121"], 0)
    assert written(found, torch.packages) == ['"torch==${TORCH}+cu121"']
    assert torch.package("torch").pinned == "2.1.0+cu121"
    assert written(found, [torch.options.index]) == [f"{PYTORCH}/cu121"]
    assert [w.text for w in scatter.options.find_links] == ["https://data.pyg.org/whl/torch-2.1.0+cu121.html"]
    assert written(found, scatter.options.find_links) == ["https://data.pyg.org/whl/torch-${TORCH}+cu121.html"]
    assert [i.command.stage for i in found.before(numpy)] == [0, 0, 0]
    assert packages(numpy) == ["numpy<2"] and written(found, numpy.packages) == ['"numpy<2"']
    assert packages(last) == ["torch==$NOBODY_SETS_IT?"]


def test_env_wins_over_arg_and_later_values_over_earlier_ones():
    found = dockerfile("""\
        FROM a
        ENV A=env
        ARG A=arg
        ARG B=arg
        ENV B=env
        RUN echo $A $B
        ENV B=later C=$B
        RUN echo $B $C
        """)
    assert texts(found) == ["echo env env", "echo later env"]


@pytest.mark.parametrize(
    "value, given",
    [
        ("${CUDA//./}", "1218"),
        ("${CUDA%.*}", "12.1"),
        ("${CUDA%%.*}", "12"),
        ("${CUDA#*.}", "1.8"),
        ("${CUDA##*.}", "8"),
        ("${CUDA/./-}", "12-1.8"),
        ("${CUDA:0:2}", "12"),
        ("${CUDA:-other}", "12.1.8"),
        ("${CUDA:+cuda}", "cuda"),
        ("${NONE:-cpu}", "cpu"),
        ("${NONE:-$CUDA}", "12.1.8"),
        ("${NONE:+cuda}", ""),
        ("${EMPTY:-cpu}", "cpu"),
        ("${EMPTY-cpu}", ""),
        ("${BARE:-cpu}", "cpu"),
        ("cu$CUDA+x", "cu12.1.8+x"),
        ("\\$CUDA", "$CUDA"),
        ("'$CUDA'", "$CUDA"),
        ("${CUDA", None),
        ("$NONE", None),
        ("${CUDA[@]}", None),
        ("$(nvcc)", None),
        ("${CUDA//$NONE/x}", None),
    ],
)
def test_forms_of_variables(value, given):
    found = read("Dockerfile", f"FROM a\nARG BARE\nENV CUDA=12.1.8 EMPTY=\nRUN echo x{value}\n")
    words = found.commands[-1].words if found.commands else ()
    known = words[1].text[1:] if len(words) == 2 and words[1].known else None
    assert known == given
    if given is None and words:
        assert words[1].text == "x" + value or not words[1].known


def test_a_dockerfile_with_here_documents():
    found = dockerfile("""\
        FROM python:3.11
        RUN <<EOF
        set -e
        python3.11 -m pip install torch   # the newest
        EOF
        RUN <<-"DONE" bash -x
        \tpip install numpy
        DONE
        RUN <<EOF python3
        import torch
        EOF
        RUN <<EOF
        #!/usr/bin/env python3
        pip install not-shell
        EOF
        RUN cat <<EOF > /etc/pip.conf && pip install scipy
        [global]
        pre = true
        EOF
        RUN pip install pandas
        """)
    assert texts(found) == [
        "set -e",
        "; python3.11 -m pip install torch",
        "pip install numpy",
        "cat",
        "&& pip install scipy",
        "pip install pandas",
    ]
    assert [i.python for i in found.installs] == ["python3.11", "", "", ""]


def test_windows_line_ends_and_another_escape_character():
    found = read("Dockerfile", "FROM a\r\nENV A=1 \\\r\n    B=2\r\nRUN pip install \\\r\n  x$A$B \\\r\n && y\r\n")
    assert texts(sound(found)) == ["pip install x12", "&& y"]
    found = read("Dockerfile", "# escape=`\nFROM a\nRUN pip install `\n  x `\n  && y\n")
    assert texts(sound(found)) == ["pip install x", "&& y"]


def test_spaces_after_a_backslash_and_a_backslash_at_the_end():
    found = read("Dockerfile", "FROM a\nRUN pip install \\  \n  x && \\\n  y && \\\n")
    assert texts(sound(found))[:2] == ["pip install x", "&& y"]


def test_a_continued_line_in_quotes_has_no_backslash():
    found = dockerfile("""\
        FROM a
        RUN deps=' \\
          gcc \\
          g++ \\
          ' && apt-get install -y $deps
        """)
    assert packages(found.installs[0]) == ["gcc", "g++"]


def test_shells_that_are_none_are_not_read_and_conda_run_says_where_it_installs():
    found = dockerfile("""\
        FROM a
        SHELL ["powershell", "-Command"]
        RUN pip install torch
        SHELL ["conda", "run", "-n", "lab", "/bin/bash", "-c"]
        RUN pip install scipy
        """)
    assert texts(found) == ["pip install scipy"]
    assert [i.python for i in found.installs] == ["lab"]
    assert [(u.line, "powershell" in u.why) for u in found.unread] == [(3, True)]


def test_what_is_no_instruction_is_said_and_the_rest_is_read():
    found = dockerfile("""\
        FROM a
        RUNN pip install x
        run pip install y
        ONBUILD RUN pip install z
        """)
    assert texts(found) == ["pip install y", "pip install z"]
    assert [u.line for u in found.unread] == [2]


def test_a_part_of_a_dockerfile_is_read_as_one_stage():
    found = dockerfile("ENV A=1\nRUN pip install x$A\n")
    assert texts(found) == ["pip install x1"] and found.stages[0].image is None
    assert [u.line for u in found.unread] == [1]


def test_names_of_images_with_defaults_digests_and_templates():
    found = dockerfile("""\
        ARG TAG
        FROM a:${TAG:-1.0}@sha256:00 AS One
        FROM one
        FROM {{ base }}
        FROM $TAG
        FROM "b:${TAG:-2}"
        """)
    assert [(s.image, s.parent) for s in found.stages] == [
        ("a:1.0@sha256:00", None),
        (None, 0),
        (None, None),
        (None, None),
        ("b:2", None),
    ]


def test_an_exec_form_with_a_shell_has_what_the_shell_runs():
    found = dockerfile("""\
        FROM a
        RUN ["/bin/bash", "-c", "pip install \\"torch>=2\\" && true"]
        """)
    assert texts(found)[-2:] == ["pip install torch>=2", "&& true"]
    assert written(found, found.installs[0].packages) == ['\\"torch>=2\\"']


def test_copied_requirements_are_found_under_their_new_name(tmp_path):
    (tmp_path / "req").mkdir()
    (tmp_path / "req" / "gpu.txt").write_text(f"--index-url {PYTORCH}/cu121\ntorch==2.1.0\n-r more.txt\n")
    (tmp_path / "req" / "more.txt").write_text("torch-scatter\n")
    file = tmp_path / "Dockerfile"
    file.write_text("FROM a\nCOPY req/gpu.txt /tmp/r.txt\nRUN pip install wheel -r /tmp/r.txt\n")
    found = sound(read(str(file)))
    (install,) = found.installs
    assert packages(install) == ["wheel", "torch==2.1.0", "torch-scatter"]
    gpu = str(tmp_path / "req" / "gpu.txt")
    assert [p.file for p in install.packages] == [None, gpu, str(tmp_path / "req" / "more.txt")]
    torch = install.packages[1]
    assert read(gpu).at(torch.span) == "torch==2.1.0"
    index = install.options.index
    assert (index.text, index.raw) == (f"{PYTORCH}/cu121", "") and found.text[index.span.start :][:6] == "/tmp/r"


@pytest.mark.parametrize(
    "lines, there",
    [
        ("COPY . /app\nRUN pip install -r /app/requirements.txt", True),
        ("COPY . .\nRUN pip install -r requirements.txt", True),
        ("COPY requirements.txt .\nRUN pip install -r requirements.txt", True),
        ("RUN --mount=type=bind,source=requirements.txt,target=/tmp/r pip install -r /tmp/r", True),
        ("RUN --mount=type=bind,target=/src pip install -r /src/requirements.txt", True),
        ("RUN pip install -r requirements.txt", False),
        ("COPY --from=other requirements.txt .\nRUN pip install -r requirements.txt", False),
        ("COPY . .\nRUN git clone https://x/y && cd y && pip install -r requirements.txt", False),
    ],
)
def test_only_what_is_in_the_image_is_installed_from(tmp_path, lines, there):
    (tmp_path / "requirements.txt").write_text("scipy\n")
    found = read(str(tmp_path / "Dockerfile"), f"FROM a\n{lines}\n")
    assert packages(found.installs[-1]) == ["scipy"] * there


def test_requirements_above_a_devcontainer_folder(tmp_path):
    (tmp_path / ".devcontainer").mkdir()
    (tmp_path / "requirements.txt").write_text("scipy\n")
    text = '{"postCreateCommand": "pip install -r requirements.txt"}'
    found = sound(read(str(tmp_path / ".devcontainer" / "devcontainer.json"), text))
    assert packages(found.installs[0]) == ["scipy"]


# -- shell -----------------------------------------------------------------------------------------------------------


def test_operators_and_groups_of_a_script():
    found = shell("""\
        a; b && c || d | e & f
        (g; h)
        { i; }
        ! j
        """)
    assert texts(found) == ["a", "; b", "&& c", "|| d", "| e", "; f", "; g", "; h", "; i", "; j"]
    assert {c.group for c in found.commands} == {0}


def test_what_is_set_without_export_does_not_reach_programs():
    found = shell("""\
        FORCE_CUDA=1 && pip install torch-scatter
        export TORCH_CUDA_ARCH_LIST="8.0;8.6"
        A=1 pip install x
        MAX_JOBS=4
        export MAX_JOBS
        env B=2 pip install y
        declare -x C=3
        unset TORCH_CUDA_ARCH_LIST
        pip install z
        """)
    first, last = found.commands[0], found.commands[-1]
    assert first.variable("FORCE_CUDA") is None and first.in_shell("FORCE_CUDA").how == "shell"
    assert found.at(first.in_shell("FORCE_CUDA").span) == "FORCE_CUDA=1"
    prefixed, given_by_env = found.commands[2], found.commands[4]
    assert prefixed.words[2].text == "x" and prefixed.variable("A").value == "1"
    assert prefixed.variable("TORCH_CUDA_ARCH_LIST").value == "8.0;8.6"
    assert given_by_env.variable("B").value == "2"
    assert [last.variable(n) and last.variable(n).value for n in ("A", "B", "C", "MAX_JOBS")] == [
        None,
        None,
        "3",
        "4",
    ]
    assert last.variable("TORCH_CUDA_ARCH_LIST") is None


def test_words_lose_their_quotes_and_keep_their_places():
    found = shell("""pip install "a b" 'c'd e\\ f $'g\\th' "i\\"j" *.whl ~/k\n""")
    assert [w.text for w in found.commands[0].words[2:]] == ["a b", "cd", "e f", "g\th", 'i"j', "*.whl", "~/k"]
    assert [w.raw for w in found.commands[0].words[2:4]] == ['"a b"', "'c'd"]


def test_an_unquoted_variable_is_split_into_words_and_a_quoted_one_is_not():
    found = shell("""\
        P="torch torchvision"
        pip install $P "$P" x-$P
        """)
    assert [w.text for w in found.commands[0].words[2:]] == [
        "torch",
        "torchvision",
        "torch torchvision",
        "x-torch",
        "torchvision",
    ]


def test_substitutions_are_unknown_and_their_commands_are_listed():
    found = shell("""\
        TORCH=$(python -c "import torch; print(torch.__version__)")
        pip install torch-scatter -f https://data.pyg.org/whl/torch-${TORCH}.html `cat names`
        """)
    assert texts(found) == [
        "python -c import torch; print(torch.__version__)",
        "; cat names",
        "; pip install torch-scatter -f https://data.pyg.org/whl/torch-${TORCH}.html? `cat names`?",
    ]
    setting = found.commands[-1].in_shell("TORCH")
    assert (setting.value, setting.how) == (None, "shell")
    (link,) = found.installs[0].options.find_links
    assert not link.known and found.at(link.span) == "https://data.pyg.org/whl/torch-${TORCH}.html"


def test_a_variable_that_branches_set_differently_is_unknown_afterwards():
    found = shell("""\
        A=1; B=1; C=1
        if [ "$GPU" = yes ]; then A=2; B=2; pip install a$A; else A=3; B=2; fi
        case $X in x) C=2 ;; *) D=1 ;; esac
        false || E=1
        for f in a b; do pip install "$f"; F=1; done
        while read -r line; do G=1; done < list
        echo $A $B $C $D $E $F $G $f
        """)
    assert texts(found)[-1] == "; echo $A? 2 $C? $D? $E? $F? $G? $f?"
    assert "; pip install a2" in texts(found) and "; pip install $f?" in texts(found)


def test_a_long_chain_is_read_to_its_end():
    found = shell(" && ".join(f"pip install p{n}" for n in range(300)))
    assert len(found.commands) == 300 and found.unread == ()


def test_programs_that_run_programs():
    found = shell("""\
        sudo -E -u me env A=1 pip install a
        bash -lc "pip install \\"b>=2\\" && cd x"
        conda run -n lab --no-capture-output pip install c
        timeout 30 nice -n 5 python3 -m pip install d
        eval 'pip install e'
        su me -c 'pip install f'
        bash -e <<EOF
        pip install g
        EOF
        /opt/venv/bin/pip install h
        pip3.12 install i
        """)
    assert [(packages(i), i.python) for i in found.installs] == [
        (["a"], ""),
        (["b>=2"], ""),
        (["c"], "lab"),
        (["d"], ""),
        (["e"], ""),
        (["f"], ""),
        (["g"], ""),
        (["h"], "/opt/venv/bin/python"),
        (["i"], "python3.12"),
    ]
    assert written(found, found.installs[1].packages) == ['\\"b>=2\\"']


def test_a_requirement_whose_quotes_are_lost_is_a_redirection():
    found = shell("pip install torch>=2.0 numpy > log 2>&1\n")
    assert packages(found.installs[0]) == ["torch", "numpy"]
    assert found.at(found.commands[0].span) == "pip install torch>=2.0 numpy > log 2>&1"


def test_letters_of_more_than_one_byte_do_not_move_places():
    found = shell("# Größe €𝛼\npip install 'torch==2.1' -f https://ex.org/ü.html # ñ\n")
    assert written(found, found.installs[0].packages) == ["'torch==2.1'"]
    assert written(found, found.installs[0].options.find_links) == ["https://ex.org/ü.html"]


# -- installers ------------------------------------------------------------------------------------------------------


def install(command, setup=""):
    found = shell(f"{setup}\n{command}\n")
    return found, found.installs[-1]


@pytest.mark.parametrize("form", ["-f {}", "-f{}", "--find-links {}", "--find-links={}", "-qf {}", "--find-link={}"])
def test_every_form_of_an_option(form):
    found, one = install("pip install " + form.format("https://ex.org/page.html") + " torch")
    assert written(found, one.options.find_links) == ["https://ex.org/page.html"]
    assert packages(one) == ["torch"]


def test_options_of_pip():
    found, one = install(
        "pip --no-cache-dir install -U --pre --no-deps --no-build-isolation --no-index --break-system-packages "
        "-i https://a --extra-index-url https://b --extra-index-url=https://c --only-binary=:all: --no-binary A_b,c "
        "--global-option=--cpp_ext --config-settings --build-option=--cuda_ext -C x=y -r r.txt -c c.txt -e ./apex "
        "--target /opt --python-version 3.10 --progress-bar off --trusted-host a "
        "'torch[dev]>=2 ; python_version > \"3\"' ."
    )
    o = one.options
    assert written(found, [o.index, *o.extra_indexes]) == ["https://a", "https://b", "https://c"]
    assert (o.only_binary, o.no_binary) == ((":all:",), ("a-b", "c"))
    assert o.upgrade and o.no_deps and o.no_build_isolation and o.no_index and o.break_system_packages
    assert found.at(o.pre.span) == "--pre"
    assert written(found, o.global_options) == ["--cpp_ext"]
    assert written(found, o.config_settings) == ["--build-option=--cuda_ext", "x=y"]
    assert written(found, o.requirement_files + o.constraint_files) == ["r.txt", "c.txt"]
    assert written(found, one.local) == ["./apex", "."]
    assert packages(one) == ["torch>=2"] and one.packages[0].marker == 'python_version > "3"'


@pytest.mark.parametrize(
    "setting, there",
    [
        ("PIP_NO_BUILD_ISOLATION=0", True),
        ("PIP_NO_BUILD_ISOLATION=false", True),
        ("PIP_NO_BUILD_ISOLATION=1", False),
        ("PIP_NO_BUILD_ISOLATION=", False),
    ],
)
def test_pips_variable_for_no_build_isolation_means_the_opposite(setting, there):
    _, one = install("pip install torch-scatter", f"export {setting}")
    assert one.options.no_build_isolation is there


def test_variables_of_pip_and_uv_are_options():
    found, one = install(
        "pip install torch",
        'export PIP_INDEX_URL=https://a PIP_EXTRA_INDEX_URL="https://b https://c" PIP_PRE=1 PIP_ONLY_BINARY=:all:\n'
        "PIP_FIND_LINKS=https://no\nexport PIP_BREAK_SYSTEM_PACKAGES=1",
    )
    assert written(found, [one.options.index, *one.options.extra_indexes]) == ["https://a", "https://b", "https://c"]
    assert one.options.find_links == (), "it is not exported"
    assert one.options.only_binary == (":all:",) and one.options.break_system_packages and one.options.pre
    found, one = install("uv pip install torch", "export UV_TORCH_BACKEND=cu128 UV_NO_BUILD_ISOLATION=1")
    assert [w.text for w in one.options.extra_indexes] == [f"{PYTORCH}/cu128"]
    assert written(found, one.options.extra_indexes) == ["cu128"] and one.options.no_build_isolation


def test_what_is_configured_holds_for_what_comes_after():
    found = shell("""\
        pip install a
        pip config set global.index-url https://mirror/simple
        conda config --add channels conda-forge
        python -m pip install b
        conda install c
        """)
    before, pip, conda = found.installs
    assert before.options.index is None and pip.options.index.text == "https://mirror/simple"
    assert written(found, conda.options.channels) == ["conda-forge"]


def test_uv():
    found = shell("""\
        uv pip install --system -p /opt/v/bin/python --torch-backend=cu126 --index pt=https://x 'torch>=2' -r r.txt
        uv add --index https://y torch-scatter --no-build-isolation-package torch-scatter
        uv pip sync locked.txt
        uv --quiet sync --extra gpu
        uv tool install ruff
        uv pip list
        """)
    first, second, third, fourth = found.installs
    assert (first.tool, first.python, packages(first)) == ("uv", "/opt/v/bin/python", ["torch>=2"])
    assert [w.text for w in first.options.extra_indexes] == [f"{PYTORCH}/cu126", "https://x"]
    assert packages(second) == ["torch-scatter"] and second.options.no_build_isolation
    assert written(found, third.options.requirement_files) == ["locked.txt"]
    assert packages(fourth) == []


def test_conda():
    found = shell("""\
        conda install -y -c pytorch --channel=nvidia -n lab "pytorch=2.1.0=py3.11_cuda12.1*" \\
            pytorch-cuda=12.1 'numpy<2'
        micromamba create -p /opt/e -cconda-forge conda-forge::pytorch[version='>=2.1']
        mamba env update -f environment.yml
        conda list pip
        """)
    first, second, third = found.installs
    assert (first.tool, first.python) == ("conda", "lab")
    assert packages(first) == ["pytorch=2.1.0=py3.11_cuda12.1*", "pytorch-cuda=12.1", "numpy<2"]
    assert first.packages[1].pinned == "12.1"
    assert written(found, first.options.channels) == ["pytorch", "nvidia"]
    assert packages(second) == ["pytorch>=2.1"] and second.python == "/opt/e"
    assert written(found, second.options.channels) == ["conda-forge", "conda-forge"]
    assert written(found, third.options.requirement_files) == ["environment.yml"]


def test_conda_installs_what_an_environment_file_lists(tmp_path):
    (tmp_path / "environment.yml").write_text(
        "channels: [pytorch]\ndependencies:\n- pytorch=2.1\n- pip:\n  - torch-scatter\n  - -f https://ex.org/p\n"
    )
    found = sound(read(str(tmp_path / "setup.sh"), "conda env create -f environment.yml\n"))
    conda, pip = found.installs
    assert (conda.tool, packages(conda), [c.text for c in conda.options.channels]) == (
        "conda",
        ["pytorch=2.1"],
        ["pytorch"],
    )
    assert (pip.tool, packages(pip), [w.text for w in pip.options.find_links]) == (
        "pip",
        ["torch-scatter"],
        ["https://ex.org/p"],
    )
    assert {p.file for p in (*conda.packages, *pip.packages)} == {str(tmp_path / "environment.yml")}


def test_system_packages_and_setup_py():
    found = shell("""\
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get install -yqq -t stable --no-install-recommends G++ nvidia-cuda-toolkit
        apk add --no-cache --virtual .deps gcc
        dnf -y install python3.11-devel
        python3.10 setup.py build_ext install --cuda_ext
        python setup.py --version
        """)
    assert [(i.tool, packages(i), i.python) for i in found.installs] == [
        ("apt", ["g++", "nvidia-cuda-toolkit"], ""),
        ("apt", ["gcc"], ""),
        ("apt", ["python3.11-devel"], ""),
        ("setup.py", [], "python3.10"),
    ]
    assert written(found, found.installs[-1].options.global_options) == ["--cuda_ext"]


@pytest.mark.parametrize(
    "word, name, specifier, url, known",
    [
        ("torch", "torch", "", None, True),
        ("Torch_Scatter==2.1.2+pt21cu121", "torch-scatter", "==2.1.2+pt21cu121", None, True),
        ("'torch >= 2, < 3'", "torch", ">=2,<3", None, True),
        ("torch[opt]~=2.1", "torch", "~=2.1", None, True),
        ("'apex @ git+https://ex.org/apex'", "apex", "", "git+https://ex.org/apex", True),
        ("x@https://ex.org/x.whl", "x", "", "https://ex.org/x.whl", True),
        ("torch==2.1.0+121.", "torch", "==2.1.0+121.", None, False),
        ("torch==", "torch", "==", None, False),
        ("torch=2.1", "torch", "=2.1", None, False),
        ("torch==$V", "torch", "==$V", None, False),
        ("torch-$V", "torch-$V", "", None, False),
        (
            "https://ex.org/torch-2.1.0%2Bcu118-cp310-cp310-linux_x86_64.whl",
            "torch",
            "==2.1.0+cu118",
            "https://ex.org/torch-2.1.0%2Bcu118-cp310-cp310-linux_x86_64.whl",
            True,
        ),
        ("git+https://ex.org/a.git#egg=apex", "apex", "", "git+https://ex.org/a.git#egg=apex", True),
    ],
)
def test_forms_of_requirements(word, name, specifier, url, known):
    found, one = install(f"pip install {word}")
    (package,) = one.packages
    assert (package.name, package.specifier, package.url, package.known) == (name, specifier, url, known)
    assert found.at(package.span) == word == package.raw


@pytest.mark.parametrize(
    "word", [".", "./apex", "..", "dist/*.whl", "a.tar.gz", "git+https://ex.org/a.git", ".[dev]"]
)
def test_what_is_installed_by_place_is_local(word):
    found, one = install(f"pip install {word}")
    assert (written(found, one.local), packages(one)) == ([word], [])


# -- requirements ----------------------------------------------------------------------------------------------------


def test_a_requirements_file():
    found = recipe(
        "nowhere/requirements-gpu.txt",
        """\
        # what the training needs
        --extra-index-url https://download.pytorch.org/whl/cu121   # the page
        -f https://data.pyg.org/whl/torch-2.1.0+cu121.html
        --pre
        --only-binary=torch_scatter
        torch==2.1.0+cu121  # pinned
        Torch_Scatter >= 2.1 ; python_version < "3.12"
        numpy==1.26.4 \\
            --hash=sha256:00 \\
            --hash=sha256:11
        apex @ git+https://ex.org/apex@main
        -e ./tools
        wheels/x-1.0-py3-none-any.whl
        torchvision==${VISION}
        pytorch-lightning==
        -r missing.txt
        -c constraints.txt
        """,
    )
    assert found.kind == "requirements" and found.commands == ()
    (one,) = found.installs
    assert one.command is None and one.tool == "pip"
    assert packages(one) == [
        "torch==2.1.0+cu121",
        "torch-scatter>=2.1",
        "numpy==1.26.4",
        "apex",
        "x==1.0",
        "torchvision==${VISION}?",
        "pytorch-lightning==?",
    ]
    assert written(found, one.packages[:3]) == [
        "torch==2.1.0+cu121",
        'Torch_Scatter >= 2.1 ; python_version < "3.12"',
        "numpy==1.26.4",
    ]
    o = one.options
    assert written(found, o.extra_indexes) == [f"{PYTORCH}/cu121"]
    assert written(found, o.find_links) == ["https://data.pyg.org/whl/torch-2.1.0+cu121.html"]
    assert found.at(o.pre.span) == "--pre" and o.only_binary == ("torch-scatter",)
    assert written(found, o.requirement_files + o.constraint_files) == ["missing.txt", "constraints.txt"]
    assert written(found, one.local) == ["./tools", "wheels/x-1.0-py3-none-any.whl"]
    assert [u.line for u in found.unread] == [15]


def test_requirements_that_name_each_other_end(tmp_path):
    (tmp_path / "requirements.txt").write_text("a\n-r b.txt\n")
    (tmp_path / "b.txt").write_text("b\n-r requirements.txt\n")
    found = read(str(tmp_path / "requirements.txt"))
    assert packages(found.installs[0])[:2] == ["a", "b"]
    assert len(found.installs[0].packages) <= 4


# -- structured files ------------------------------------------------------------------------------------------------


def test_an_environment_file():
    found = recipe(
        "nowhere/environment.yml",
        """\
        name: lab
        channels:
          - pytorch
          - "nvidia"
        dependencies:
          - python=3.10
          - conda-forge::pytorch=2.1.0=py3.10_cuda12.1*
          - 'numpy<2'   # for old extensions
          - _libgcc_mutex=0.1
          - &pip pip
          - pip:
              - --find-links https://data.pyg.org/whl/torch-2.1.0+cu121.html
              - torch-scatter==2.1.2
        variables:
          FORCE_CUDA: "1"
          MAX_JOBS: 4
        """,
    )
    conda, pip = found.installs
    assert (conda.tool, packages(conda)) == (
        "conda",
        ["python=3.10", "pytorch=2.1.0=py3.10_cuda12.1*", "numpy<2", "_libgcc-mutex=0.1", "pip"],
    )
    assert written(found, conda.packages) == [
        "python=3.10",
        "conda-forge::pytorch=2.1.0=py3.10_cuda12.1*",
        "numpy<2",
        "_libgcc_mutex=0.1",
        "pip",
    ]
    assert written(found, conda.options.channels) == ["pytorch", "nvidia", "conda-forge"]
    assert (pip.tool, pip.python, packages(pip)) == ("pip", "lab", ["torch-scatter==2.1.2"])
    assert written(found, pip.options.find_links) == ["https://data.pyg.org/whl/torch-2.1.0+cu121.html"]
    assert [(s.name, s.value, s.how, found.at(s.span)) for s in found.settings] == [
        ("FORCE_CUDA", "1", "env", 'FORCE_CUDA: "1"'),
        ("MAX_JOBS", "4", "env", "MAX_JOBS: 4"),
    ]
    assert found.data["dependencies"][0] == "python=3.10"
    assert found.at(found.place("dependencies", 2)) == "numpy<2"


def test_yaml_is_read_up_to_the_line_that_is_none():
    found = recipe("environment.yml", "name: a\ndependencies:\n  - torch\n  - [x\nother: y\n")
    assert [u.line for u in found.unread] and found.data["name"] == "a"
    assert packages(found.installs[0]) == ["torch"]


def test_a_pyproject():
    found = recipe(
        "nowhere/pyproject.toml",
        """\
        [build-system]
        requires = ["setuptools>=77", "torch"]  # it imports torch

        [project]
        name = "x"
        dependencies = [
            "torch>=2.1 ; python_version > '3.8'",
            'torch-scatter',
        ]
        [project.optional-dependencies]
        dev = ["pytest"]
        [dependency-groups]
        docs = ["sphinx", {include-group = "dev"}]
        [tool.uv.sources]
        torch = [{ index = "pt" }]
        [[tool.uv.index]]
        name = "pt"
        url = "https://download.pytorch.org/whl/cu121"
        explicit = true
        [tool.poetry.dependencies]
        python = "^3.10"
        numpy = { version = "1.26.4", optional = true }
        """,
    )
    build, project, dev, docs, poetry = found.installs
    assert packages(build) == ["setuptools>=77", "torch"] and build.options.addresses == ()
    assert packages(project) == ["torch>=2.1", "torch-scatter"]
    assert written(found, project.packages) == ["torch>=2.1 ; python_version > '3.8'", "torch-scatter"]
    assert written(found, project.options.extra_indexes) == [f"{PYTORCH}/cu121"]
    assert (packages(dev), packages(docs)) == (["pytest"], ["sphinx"])
    assert packages(poetry) == ["python^3.10", "numpy==1.26.4"]
    assert found.data["tool"]["uv"]["sources"]["torch"][0]["index"] == "pt"
    assert found.at(found.place("tool", "uv", "index", 0, "url")) == f"{PYTORCH}/cu121"
    assert found.at(found.place("tool", "uv", "index", 0, "explicit")) == "true"


def test_long_texts_of_toml():
    found = recipe(
        "nowhere/pyproject.toml",
        '''\
        [x]
        a = """
        say "hi" \\
            twice \\"x\\"
        """
        b = \'\'\'c:\\d\'\'\'
        ''',
    )
    assert found.data == {"x": {"a": 'say "hi" twice "x"\n', "b": "c:\\d"}} and found.unread == ()


def test_a_devcontainer():
    found = recipe(
        "nowhere/.devcontainer/devcontainer.json",
        """\
        {
          // the GPU's
          "image": "nvidia/cuda:12.1.1-devel-ubuntu22.04",
          "build": { "dockerfile": "Dockerfile", "args": { "TORCH": "2.1.0" } },
          "runArgs": ["--gpus", "all",],
          "containerEnv": { "TORCH_CUDA_ARCH_LIST": "8.9", "HERE": "${localEnv:HOME}" },
          "remoteUser": "vscode",
          /* in another order than they run */
          "postCreateCommand": "FORCE_CUDA=1 pip install \\"torch>=2\\" && pip install -e .",
          "onCreateCommand": ["bash", "-c", "apt-get install -y git"],
          "updateContentCommand": { "a": "pip install a", "b": ["pip", "install", "b"] },
        }
        """,
    )
    assert texts(found) == [
        "bash -c apt-get install -y git",
        "; apt-get install -y git",
        "pip install a",
        "pip install b",
        "pip install torch>=2",
        "&& pip install -e .",
    ]
    assert written(found, found.installs[3].packages) == ['\\"torch>=2\\"']
    assert found.commands[-1].variable("TORCH_CUDA_ARCH_LIST").value == "8.9"
    assert found.commands[-1].variable("HERE").value is None
    assert found.stages[0].image == "nvidia/cuda:12.1.1-devel-ubuntu22.04" and found.stages[0].user == "vscode"
    assert found.at(found.stages[0].span) == "nvidia/cuda:12.1.1-devel-ubuntu22.04"
    assert [(s.name, found.at(s.span)) for s in found.settings if s.how == "arg"] == [("TORCH", '"TORCH": "2.1.0"')]
    assert found.data["runArgs"] == ["--gpus", "all"] and found.unread == ()
    assert found.at(found.place("runArgs", 1)) == "all"


def test_a_compose_file():
    found = recipe(
        "nowhere/docker-compose.gpu.yml",
        """\
        services:
          train:
            image: pytorch/pytorch:${TAG:-2.1.0-cuda12.1-cudnn8-runtime}
            runtime: nvidia
            environment:
              - NVIDIA_DRIVER_CAPABILITIES=utility
              - FROM_OUTSIDE
            command: bash -c "pip install torch-scatter && echo $$HOME"
            deploy:
              resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}
          serve:
            build: {context: ., args: {TORCH: "2.1.0"}}
            environment: {MAX_JOBS: 4}
            command: ["sh", "-c", "pip install b"]
        """,
    )
    assert [(s.name, s.image) for s in found.stages] == [
        ("train", "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime"),
        ("serve", None),
    ]
    assert [(packages(i), i.stage) for i in found.installs] == [(["torch-scatter"], 0), (["b"], 1)]
    assert [(s.name, s.value, s.how) for s in found.settings] == [
        ("NVIDIA_DRIVER_CAPABILITIES", "utility", "env"),
        ("FROM_OUTSIDE", None, "env"),
        ("MAX_JOBS", "4", "env"),
        ("TORCH", "2.1.0", "arg"),
    ]
    path = ("services", "train", "deploy", "resources", "reservations", "devices", 0, "capabilities")
    assert found.at(found.place(*path, 0)) == "gpu"
    assert found.data["services"]["train"]["runtime"] == "nvidia"


def test_a_workflow():
    found = recipe(
        "nowhere/.github/workflows/gpu.yml",
        """\
        on: [push]
        env: {CUDA: "12.1"}
        jobs:
          gpu:
            runs-on: [self-hosted, gpu]
            container: {image: "nvidia/cuda:12.1.1-devel-ubuntu22.04"}
            env:
              FORCE_CUDA: 1
              PYTHON: ${{ matrix.python }}
            steps:
              - uses: actions/checkout@v4
              - run: pip install "torch==${{ matrix.torch }}" 'numpy<2'
              - env:
                  TORCH_CUDA_ARCH_LIST: "8.0"
                run: |
                  # the extension

                  pip install torch-scatter \\
                    -f https://data.pyg.org/whl/torch-${{ matrix.torch }}+cu${CUDA//./}.html
                  echo "LATER=yes" >> "$GITHUB_ENV"
              - run: >-
                  pip install $LATER
                  --no-deps
              - run: "pip install \\"a b\\""
              - shell: python
                run: import torch
          windows:
            runs-on: windows-latest
            steps:
              - run: pip install torch
              - run: pip install torch
                shell: bash
        """,
    )
    assert texts(found) == [
        "pip install torch==${{ matrix.torch }}? numpy<2",
        "pip install torch-scatter -f https://data.pyg.org/whl/torch-${{ matrix.torch }}+cu121.html?",
        "; echo LATER=yes",
        "pip install yes --no-deps",
        "pip install a b",
        "pip install torch",
    ]
    assert [c.group for c in found.commands] == [0, 1, 1, 2, 3, 4]
    assert [(s.name, s.image) for s in found.stages] == [
        ("gpu", "nvidia/cuda:12.1.1-devel-ubuntu22.04"),
        ("windows", None),
    ]
    torch, scatter, folded, quoted, _ = found.installs
    assert written(found, torch.packages) == ['"torch==${{ matrix.torch }}"', "'numpy<2'"]
    assert written(found, scatter.options.find_links) == [
        "https://data.pyg.org/whl/torch-${{ matrix.torch }}+cu${CUDA//./}.html"
    ]
    assert folded.options.no_deps and written(found, quoted.packages) == ['\\"a b\\"']
    command = scatter.command
    assert [command.variable(n).value for n in ("CUDA", "FORCE_CUDA", "TORCH_CUDA_ARCH_LIST", "PYTHON")] == [
        "12.1",
        "1",
        "8.0",
        None,
    ]
    assert torch.command.variable("TORCH_CUDA_ARCH_LIST") is None
    assert [u.line for u in found.unread] == [30], "pip could stand in a step for PowerShell, not in one for Python"
    assert found.data["on"] == ["push"]


def notebook(*cells, **keys):
    return json.dumps({"cells": [{"cell_type": "code", "source": cell, "outputs": []} for cell in cells]}, **keys)


def test_a_notebook():
    text = notebook(
        ["import os\n", 'os.environ["TORCH_CUDA_ARCH_LIST"] = "8.0"\n', "os.environ['TORCH'] = torch.__version__\n"],
        ["%env FORCE_CUDA=1\n", '!pip install -q "torch>=2" \\\n', "    numpy\n", "x != y\n", "out = !pip list\n"],
        "if colab:\n    !pip install torch-scatter -f https://data.pyg.org/whl/torch-${TORCH}.html\n"
        "    %pip install a{V}b",
        ["%%capture\n", "%%bash\n", "pip install c &&\n", "  pip install d\n"],
        ["%%writefile x.sh\n", "!pip install none\n"],
        "%conda install -c pytorch é",
        indent=1,
    )
    found = sound(read("a.ipynb", text))
    assert texts(found) == [
        "pip install -q torch>=2 numpy",
        "pip list",
        "pip install torch-scatter -f https://data.pyg.org/whl/torch-${TORCH}.html?",
        "pip install a{V}b?",
        "pip install c",
        "&& pip install d",
        "conda install -c pytorch é",
    ]
    assert [c.group for c in found.commands] == [0, 1, 2, 3, 4, 4, 5]
    assert [(s.name, s.value) for s in found.settings] == [
        ("TORCH_CUDA_ARCH_LIST", "8.0"),
        ("TORCH", None),
        ("FORCE_CUDA", "1"),
    ]
    assert found.commands[0].variable("FORCE_CUDA").value == "1"
    assert written(found, found.installs[0].packages) == ['\\"torch>=2\\"', "numpy"]
    assert written(found, found.installs[-1].packages) == ["\\u00e9"]


def test_markdown_and_outputs_of_a_notebook_are_no_commands():
    cells = [
        {"cell_type": "markdown", "source": ["!pip install a"]},
        {"cell_type": "code", "source": ["1"], "outputs": [{"text": ["!pip install b"]}]},
    ]
    assert read("a.ipynb", json.dumps({"cells": cells})).commands == ()


def test_an_apptainer_definition():
    found = recipe(
        "nowhere/gpu.def",
        """\
        # built on the head node
        Bootstrap: docker
        From: nvidia/cuda:{{ CUDA }}-devel-ubuntu22.04
        Stage: build

        %arguments
            CUDA=12.1.1
        %labels
            Author nobody
        %post -c /bin/bash
            export TORCH_CUDA_ARCH_LIST="8.0"
            pip install "torch=={{ TORCH }}" cuda-{{ CUDA }} \\
                numpy
            FORCE_CUDA=1 && pip install torch-scatter
        %environment
            export PATH=/opt/x:$PATH
        %runscript
            pip install never

        Bootstrap: localimage
        From: other.sif
        %post
            apt-get install -y git
        %nonsense
        """,
    )
    build, other = found.stages
    assert (build.image, build.name) == ("nvidia/cuda:12.1.1-devel-ubuntu22.04", "build")
    assert found.at(found.place("stages", 0, "image")) == "nvidia/cuda:{{ CUDA }}-devel-ubuntu22.04"
    assert other.image is None
    assert texts(found) == [
        "export TORCH_CUDA_ARCH_LIST=8.0",
        "; pip install torch=={{ TORCH }}? cuda-12.1.1 numpy",
        "&& pip install torch-scatter",
        "apt-get install -y git",
    ]
    assert written(found, found.installs[0].packages) == ['"torch=={{ TORCH }}"', "cuda-{{ CUDA }}", "numpy"]
    scatter = found.commands[2]
    assert scatter.variable("TORCH_CUDA_ARCH_LIST").value == "8.0" and scatter.variable("FORCE_CUDA") is None
    assert scatter.variable("PATH") is None, "%environment is for the container, not for its build"
    assert [(s.name, s.how) for s in found.settings] == [
        ("CUDA", "arg"),
        ("TORCH_CUDA_ARCH_LIST", "export"),
        ("FORCE_CUDA", "shell"),
        ("PATH", "export"),
    ]
    assert [u.line for u in found.unread] == [24]


# -- kinds, folders, what is no recipe -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, text, kind",
    [
        ("Dockerfile", "", "dockerfile"),
        ("gpu.Dockerfile", "", "dockerfile"),
        ("Dockerfile.gpu", "", "dockerfile"),
        ("docker/Containerfile", "", "dockerfile"),
        ("x.dockerfile", "", "dockerfile"),
        ("build", "# c\nFROM python:3.11 AS x\nRUN y\n", "dockerfile"),
        ("requirements.txt", "", "requirements"),
        ("requirements-dev.txt", "", "requirements"),
        ("dev-requirements.in", "", "requirements"),
        ("constraints.txt", "", "requirements"),
        ("requirementsGPU.txt", "", "requirements"),
        ("requirements/base.txt", "", "requirements"),
        ("deps.txt", "torch==2.1\n", "requirements"),
        ("environment.yml", "", "environment"),
        ("conda-gpu.yaml", "dependencies: []", "environment"),
        ("lab.yml", "name: x\ndependencies:\n- a\n", "environment"),
        ("pyproject.toml", "", "pyproject"),
        (".devcontainer.json", "", "devcontainer"),
        ("compose.yaml", "", "compose"),
        ("docker-compose.dev.yml", "", "compose"),
        ("stack.yml", "services:\n  a: {}\n", "compose"),
        (".github/workflows/x.yml", "name: x", "workflow"),
        ("ci.yml", "on: push\njobs:\n  a: {}\n", "workflow"),
        ("a.ipynb", "{}", "notebook"),
        ("a.sh", "", "shell"),
        ("install", "#!/usr/bin/env bash\n", "shell"),
        ("x.def", "", "apptainer"),
        ("Singularity", "", "apptainer"),
        ("recipe", "Bootstrap: docker\nFrom: x\n", "apptainer"),
        ("README.md", "# From here\nFrom here on, all is well.\n", None),
        ("values.yml", "a: b\n", None),
        ("notes.txt", "Dear all,\n", None),
        ("dockerfile.py", "import x\n", None),
        ("Dockerfile.md", "Our images\n", None),
        (".devcontainer/devcontainer.json", "", "devcontainer"),
        ("x.toml", "a = 1\n", None),
    ],
)
def test_kinds(path, text, kind):
    assert kind_of(path, text) == kind


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("README.md", b"Dear all,\n", "it begins: Dear all,"),
        ("empty", b"", "an empty file"),
        ("Dockerfile", b"FROM a\0b", "binary"),
        ("requirements.txt", b"x" * 8_000_001, "8 MB"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(KitError) as caught:
        read(str(tmp_path / name))
    line = str(caught.value)
    assert said in line and "\n" not in line and line.startswith(str(tmp_path / name))


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path, tmp_path / "Dockerfile", tmp_path / "a\0b"):
        with pytest.raises(KitError, match=r"folder|cannot be read"):
            read(str(path))


@pytest.mark.parametrize(
    "data",
    [
        "FROM a\nRUN pip install x # ü\n".encode("latin-1"),
        b"\xef\xbb\xbfFROM a\nRUN pip install x\n",
        "FROM a\nRUN pip install x\n".encode("utf-16"),
    ],
)
def test_other_encodings(tmp_path, data):
    (tmp_path / "Dockerfile").write_bytes(data)
    found = sound(read(str(tmp_path / "Dockerfile")))
    assert texts(found) == ["pip install x"] and found.stages[0].image == "a"


@pytest.mark.parametrize(
    "name",
    ["Dockerfile", "requirements.txt", "environment.yml", "pyproject.toml", "devcontainer.json", "compose.yml"],
)
def test_empty_files_of_a_kind_are_empty_recipes(name):
    found = sound(read(name, ""))
    assert found.commands == () and found.settings == () and not any(i.packages for i in found.installs)


def test_a_folder_stands_for_the_recipes_in_it(tmp_path):
    files = {
        "Dockerfile": "FROM a\n",
        "src/train.py": "",
        "lab/a.ipynb": "{}",
        "lab/list.def": "no header\n",
        "values.yml": "a: b\n",
        ".devcontainer/devcontainer.json": "{}",
        ".github/workflows/ci.yml": "jobs: {}\n",
        "venv/pyvenv.cfg": "",
        "venv/requirements.txt": "x\n",
        "node_modules/requirements.txt": "x\n",
        ".git/requirements.txt": "x\n",
        ".cache/x.py": "",
        "lib/site-packages/x.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = [f[len(str(tmp_path)) + 1 :] for f in recipe_files(str(tmp_path))]
    assert sorted(found) == [
        ".devcontainer/devcontainer.json",
        ".github/workflows/ci.yml",
        "Dockerfile",
        "lab/a.ipynb",
    ]
    python = [f[len(str(tmp_path)) + 1 :] for f in python_files([str(tmp_path), str(tmp_path / "src" / "train.py")])]
    assert sorted(python) == ["lab/a.ipynb", "src/train.py"]


# -- whatever a file holds, reading it ends --------------------------------------------------------------------------


VALID = {
    "Dockerfile": textwrap.dedent(GPU),
    "a.sh": 'A=$(b "c") && if [ -f x ]; then pip install "$A" <<EOF\nx\nEOF\nfi\nfor x in ${A[@]}; do y; done\n',
    "requirements.txt": '-f https://x\ntorch==2.1 ; python_version > "3" --hash=sha256:0\n-e git+https://x#egg=y\n',
    "environment.yml": 'channels: [a]\ndependencies:\n  - &x a=3\n  - "b"\n  - pip: [c, *x]\nvariables: {A: "1"}\n',
    "pyproject.toml": '[project]\ndependencies = ["a", """b"""]\n[[tool.uv.index]]\nurl = "x"\n[tool.poetry.group]\n',
    "devcontainer.json": '{"image": "a", /* c */ "postCreateCommand": {"x": ["bash", "-c", "pip \\u0041"]},}',
    "compose.yml": 'services:\n  a:\n    environment: [A=1]\n    command: >-\n      bash -c "pip x"\n\n      y\n',
    ".github/workflows/a.yml": "jobs:\n  a:\n    steps:\n    - run: |\n        pip install ${{ x }}\n      env: {}\n",
    "a.ipynb": notebook(["%env A=1\n", "!pip install {x} $y \\\n", "z"], "%%bash\npip install x"),
    "x.def": "Bootstrap: docker\nFrom: a:{{ B }}\n%arguments\nB=1\n%post\npip install {{ B }}\n%files\na b\n",
}


@pytest.mark.parametrize("name", VALID)
def test_every_truncation_of_a_file_is_read(name):
    text = VALID[name]
    for end in range(0, len(text), 1 + len(text) // 400):
        assert isinstance(sound(read(name, text[:end])), Recipe)


SIGNS = "$ ${ $( {{ }} ` \" ' \\ <<EOF [ ( # é | & ; % * : = -e -- ! - \ue000 \U0001f600 \ufeff pip".split(" ")
PIECES = st.sampled_from([*SIGNS, " ", "\n", "\r\n", "\0", "\x85", "\x0c", "pip install "])


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_is_read(name, data):
    text = VALID[name]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 10))
        text = text[:at] + data.draw(PIECES) + text[at + gone :]
    sound(read(name, text))


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(max_size=200))
def test_any_text_is_read(name, text):
    sound(read(name, text))


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.sh", "(" * 3000),
        ("a.sh", "$(" * 3000),
        ("a.sh", "echo " + "${a:-" * 1000 + "}" * 1000),
        ("a.sh", "bash -c '" * 200),
        ("environment.yml", "[" * 600),
        ("environment.yml", "a: &a [*a]"),
        ("environment.yml", "a: &a [x, x, x]\n" + "".join(f"k{i}: &k{i} [*a, *a, *a]\n" for i in range(5))),
        ("devcontainer.json", '{"a":' * 3000),
        ("pyproject.toml", "a" + ".a" * 3000 + "=1"),
        ("pyproject.toml", "a=" + "[" * 3000),
        ("pyproject.toml", "project = 3\n[project.dependencies]\nx=1\n[[project]]\n[tool]\nuv=3\npoetry=[1]"),
        (
            "compose.yml",
            "services: {a: 3, b: {environment: 3, command: {a: b}, image: [1]}, c: {command: [1, []]}}",
        ),
        (".github/workflows/a.yml", "jobs: {a: 3, b: {steps: [1, {run: [a]}, {run: 3, env: [a]}], container: [3]}}"),
        ("devcontainer.json", '{"postCreateCommand": 3, "build": 3, "image": [], "onCreateCommand": {"b": [3]}}'),
        ("a.ipynb", '{"cells": [3, {"cell_type": "code", "source": 3}, {"cell_type": 3}], "worksheets": 3}'),
        ("Dockerfile", "FROM a\n" + "ENV A=$A$A\n" * 50 + "RUN echo $A"),
    ],
    ids=lambda text: text[:12],
)
def test_deep_and_odd_files_are_read(name, text):
    sound(read(name, text))


def test_a_missing_grammar_is_one_line_that_says_what_to_install(monkeypatch):
    import sys

    from kit.recipes.reading import source

    source._parser.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_bash", None)
    with pytest.raises(KitError, match=r'tree-sitter-bash is not installed.*pip install -e "\.\[recipes\]"'):
        read("a.sh", "x")
    source._parser.cache_clear()


def test_a_constraints_file_installs_nothing():
    recipe = read("constraints.txt", "torch==2.13.0\ntorch-scatter==2.1.2\n")
    assert (recipe.kind, recipe.installs) == ("requirements", ())
