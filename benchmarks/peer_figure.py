"""The picture of the ratios in the README."""


def draw(table, path):
    """A picture of the ratios: for each workload a mark per peer."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "flatprop", "svg.fonttype": "none"})
    from matplotlib import pyplot

    colours = {
        "JAX lax.scan": "#c44e52",
        "JAX per step": "#dd8452",
        "JAX": "#dd8452",
        "PyTorch": "#4c72b0",
        "NumPy": "#8c8c8c",
        "onnxruntime": "#8172b3",
        "scikit-learn": "#55a868",
    }
    figure, axes = pyplot.subplots(figsize=(8.5, 0.42 * len(table) + 1.6))
    for place, ratios in enumerate(table.values()):
        for name, ratio in ratios.items():
            if name in colours:
                axes.plot(ratio, place, "o", color=colours[name], markersize=7, alpha=0.9)
    axes.axvline(1, color="black", linewidth=1.2)
    axes.text(1, -1.08, "flatprop", ha="center", va="bottom", fontsize=9)
    axes.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500]
    axes.set_xticks(ticks, [f"{tick} ×" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(table)), list(table), fontsize=9)
    axes.set_ylim(len(table) - 0.4, -1)
    axes.set_xlabel("times as long as flatprop, on one processor (logarithmic)")
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    names = list(dict.fromkeys(name for ratios in table.values() for name in ratios))
    merged = {"JAX": "JAX per step"}
    shown = [name for name in names if name in colours and name not in merged]
    handles = [axes.plot([], [], "o", color=colours[name], label=name)[0] for name in shown]
    axes.legend(handles=handles, ncols=3, frameon=False, fontsize=9, loc="upper center",
                bbox_to_anchor=(0.4, -0.14 if len(table) > 8 else -0.2))  # fmt: skip
    figure.tight_layout()
    figure.savefig(
        path, facecolor="white", metadata={"Date": None} if path.endswith("svg") else {}
    )
