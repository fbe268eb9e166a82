"""Each selector against its formula, computed here without it."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from calib_fakes import LOCAL
from selector_fakes import DENSE, TOKENIZER, make, make_pool, planted, row_ids, selector_config
from sklearn.cluster import KMeans

from prune.calib.embeddings import kmeans, last_hidden_means, tfidf, token_means
from prune.calib.registry import build_selector, choose
from prune.calib.selection import Pick, Pool
from prune.calib.selectors.activation import Activation, project_outputs
from prune.calib.selectors.clusters import in_turn
from prune.config.select import Embedding, SelectConfig
from prune.errors import UserError
from tests.architectures import CONFIGS, tiny_model

TEXTS = [
    "The box, the shelf. The box sold.",
    "seven nine seven",
    "the",
    "Apple pear plum box shelf seven nine ran sold gave kept found many.",
    "box box box box",
    "nine plum",
    "ran, sold, gave",
    "green blue red",
]


def order(config: SelectConfig, pool: Pool) -> list[Pick]:
    selector = build_selector(config)
    assert selector is not None
    return list(selector.order(pool))


def indices(picks: list[Pick]) -> list[int]:
    return [pick.index for pick in picks]


def test_longest() -> None:
    pool = make_pool(TEXTS)
    lengths = [len(TOKENIZER(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    picks = order(selector_config("longest"), pool)
    assert [lengths[pick.index] for pick in picks] == sorted(lengths, reverse=True)
    assert [pick.why["num_tokens"] for pick in picks] == [lengths[pick.index] for pick in picks]
    assert indices(order(selector_config("longest"), make_pool(["a", "b", "c"]))) == [0, 1, 2], "equal ones stay in order"


def test_longest_goes_by_whole_documents() -> None:
    long, short = "apple pear plum box " * 60, "apple pear plum box " * 20
    rows = {"c4": [{"text": long if row % 4 == 0 else short, "url": "", "timestamp": ""} for row in range(40)]}
    made = make(selector_config("longest"), rows=rows)
    assert all(row % 4 == 0 for row in row_ids(made))


def naive_zipf(texts: list[str]) -> list[Fraction]:
    """Rare words as the authors' code finds them, in exact fractions."""
    words = [text.lower().replace(".", " ").replace(",", " ").split() for text in texts]
    everything = [word for of_one in words for word in of_one]
    return [sum((Fraction(1, everything.count(word)) for word in set(of_one)), Fraction(0)) for of_one in words]


def test_zipf() -> None:
    scores = naive_zipf(TEXTS)
    picks = order(selector_config("zipf"), make_pool(TEXTS))
    assert indices(picks) == sorted(range(len(TEXTS)), key=lambda index: -scores[index])
    assert [pick.why["score"] for pick in picks] == pytest.approx([float(scores[pick.index]) for pick in picks], rel=1e-5)
    assert scores[2] == Fraction(1, 4), "the: four times in all, three of them in one text"


def test_least_perplexity_is_by_the_models_own_loss() -> None:
    pool = make_pool([*TEXTS, ""])
    losses = []
    for candidate in pool.candidates[:-1]:
        ids = torch.tensor([candidate.token_ids])
        with torch.no_grad():
            losses.append(float(DENSE(input_ids=ids, labels=ids).loss))
    picks = order(selector_config("least_perplexity"), pool)
    assert indices(picks) == [*np.argsort(losses).tolist(), len(TEXTS)]
    assert [pick.why["perplexity"] for pick in picks[:-1]] == pytest.approx(np.exp(sorted(losses)).tolist(), rel=1e-4)
    assert picks[-1].why == {"perplexity": None}, "BOS alone predicts nothing"


def naive_tfidf(texts: list[str]) -> np.ndarray:
    words = [text.lower().replace(".", " ").replace(",", " ").split() for text in texts]
    vocabulary = sorted({word for of_one in words for word in of_one})
    rows = np.zeros((len(texts), len(vocabulary)))
    for row, of_one in enumerate(words):
        for column, word in enumerate(vocabulary):
            having = sum(word in other for other in words)
            rows[row, column] = of_one.count(word) * (1 + math.log((1 + len(texts)) / (1 + having)))
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)


def test_tfidf() -> None:
    assert tfidf(TEXTS).toarray() == pytest.approx(naive_tfidf(TEXTS))
    assert tfidf(["5", "...", "x_1 Ä"]).toarray().sum(axis=1) == pytest.approx([1, 0, math.sqrt(2)])
    with pytest.raises(UserError, match=r"None of the texts has a word .* select.embedding=model"):
        tfidf(["...", "?!"])


@pytest.mark.parametrize("embedding", list(Embedding))
def test_most_similar_to_the_pool_itself_is_by_the_mean_cosine(embedding: Embedding) -> None:
    pool = make_pool(TEXTS)
    rows = naive_tfidf(TEXTS) if embedding is Embedding.tfidf else naive_means(pool)
    scores = (rows @ rows.T).mean(axis=1)
    picks = order(selector_config("most_similar", embedding=embedding), pool)
    assert indices(picks) == np.argsort(-scores, kind="stable").tolist()
    assert [pick.why["similarity"] for pick in picks] == pytest.approx(np.sort(scores)[::-1], rel=1e-4)


def naive_means(pool: Pool) -> np.ndarray:
    """The mean last hidden state of each candidate, alone, of length 1."""
    rows = []
    for candidate in pool.candidates:
        with torch.no_grad():
            out = DENSE(input_ids=torch.tensor([candidate.token_ids]), output_hidden_states=True)
        mean = out.hidden_states[-1][0].double().mean(dim=0).numpy()
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)


SVAMP = [
    {"Body": f"She has {number} green", "Question": "How many red and blue?", "Equation": "1", "Answer": "1", "Type": ""}
    for number in range(5)
]


@pytest.mark.parametrize("embedding", list(Embedding))
def test_most_similar_to_a_target_is_by_the_mean_cosine_with_its_rows(embedding: Embedding) -> None:
    gold = [{"question": "green blue?", "answer": "red #### 1"}, {"question": "blue green red?", "answer": "x #### 2"}]
    pool = make_pool(TEXTS, gsm8k=gold)
    targets = ["Question: green blue?\nAnswer: 1", "Question: blue green red?\nAnswer: 2"]
    picks = order(selector_config("most_similar", target="gsm8k", embedding=embedding), pool)
    if embedding is Embedding.tfidf:
        rows = np.array(tfidf([*TEXTS, *targets]).toarray())
        ours, others = rows[: len(TEXTS)], rows[len(TEXTS) :]
        assert picks[0].index == TEXTS.index("green blue red")
    else:
        longest = max(len(candidate.token_ids) for candidate in pool.candidates)
        of_target = make_pool(targets)
        cut = [candidate.token_ids[:longest] for candidate in of_target.candidates]
        ours = naive_means(pool)
        others = torch.nn.functional.normalize(last_hidden_means(DENSE, cut), dim=1).double().numpy()
    scores = (ours @ others.T).mean(axis=1)
    assert indices(picks) == np.argsort(-scores, kind="stable").tolist()
    assert [pick.why["similarity"] for pick in picks] == pytest.approx(np.sort(scores)[::-1], rel=1e-4)


def test_rows_of_a_target_are_drawn_by_the_seed_and_empty_ones_left_out() -> None:
    rows = [{"text": text, "url": "", "timestamp": ""} for text in ("green", " ", "red", "", "blue")]
    pools = [make_pool(TEXTS, seed=seed, c4=rows) for seed in range(8)]
    found = [order(selector_config("most_similar", target="c4", target_rows=1), pool)[0] for pool in pools]
    assert {pick.index for pick in found} == {TEXTS.index("green blue red")}
    scores = {pick.why["similarity"] for pick in found}
    assert all(score > 0.3 for score in scores)
    empty = make_pool(TEXTS, c4=[{"text": " ", "url": "", "timestamp": ""}])
    with pytest.raises(UserError, match=r"select.target=c4: none of its 1 training rows has text"):
        order(selector_config("most_similar", target="c4"), empty)


def test_a_control_is_no_target() -> None:
    selector = build_selector(selector_config("most_similar", target="random"))
    assert selector is not None
    with pytest.raises(UserError, match=r"select.target=random: random has no rows of its own. Sets with rows: c4"):
        selector.reads(LOCAL)


def test_clusters_take_one_of_each_in_turn() -> None:
    cluster_of = [0, 0, 0, 0, 1, 0, 2, 1]
    picks = in_turn(cluster_of)
    left = {cluster: [index for index in range(8) if cluster_of[index] == cluster] for cluster in range(3)}
    expected = []
    while any(left.values()):
        expected += [left[cluster].pop(0) for cluster in range(3) if left[cluster]]
    assert indices(picks) == expected == [0, 4, 6, 1, 7, 2, 3, 5]
    assert [pick.why["cluster"] for pick in picks] == [cluster_of[index] for index in expected]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("num_needed", [6, 7, 11])
def test_planted_topics_are_the_clusters_and_are_taken_equally(num_needed: int, seed: int) -> None:
    texts, topics = planted(60, seed)
    pool = make_pool(texts, num_needed=num_needed, seed=seed)
    choice = choose(selector_config("clusters"), pool)
    taken = choice.picks[:num_needed]
    pairs = {(pick.why["cluster"], topics[pick.index]) for pick in choice.picks}
    assert len(pairs) == 3, "each cluster is one topic"
    counts = [sum(topics[pick.index] == topic for pick in taken) for topic in range(3)]
    assert max(counts) - min(counts) <= 1
    said = choice.describe({pick.index for pick in taken})["selection"]["clusters"]
    sizes = {cluster: topics.count(topic) for cluster, topic in pairs}
    assert [entry["size"] for entry in said] == [sizes[cluster] for cluster in range(3)]
    assert sorted(entry["taken"] for entry in said) == sorted(counts) and not any(entry["ran_out"] for entry in said)


def test_a_cluster_that_runs_out_is_told_and_the_rest_goes_to_others() -> None:
    texts = ["apple pear plum"] * 2 + ["red green blue"] * 7 + ["seven nine six"] * 7
    choice = choose(selector_config("clusters"), make_pool(texts, num_needed=12))
    taken = {pick.index for pick in choice.picks[:12]}
    assert choice.describe(taken) == {
        "num_candidates": 16,
        "selection": {
            "clusters": [
                {"cluster": 0, "size": 2, "taken": 2, "ran_out": True},
                {"cluster": 1, "size": 7, "taken": 5, "ran_out": False},
                {"cluster": 2, "size": 7, "taken": 5, "ran_out": False},
            ]
        },
    }


def test_one_cluster_is_random() -> None:
    for name, style in (("c4", None), ("gsm8k", "icl"), ("gsm8k", "single")):
        one, random_ = (
            make(config, name, style) for config in (selector_config("clusters", num_clusters=1), SelectConfig())
        )
        assert torch.equal(one.tokens_NL, random_.tokens_NL)


def test_more_clusters_than_candidates_are_told() -> None:
    with pytest.raises(UserError, match=r"select.num_clusters=9: the pool has 8 candidates only, .* select.num_clusters=4"):
        choose(selector_config("clusters", num_clusters=9), make_pool(TEXTS))
    assert len(order(selector_config("clusters", num_clusters=8), make_pool(TEXTS))) == 8
    with pytest.raises(UserError, match=r"select\.num_clusters"):
        selector_config("clusters", num_clusters=0)


def test_clusters_by_the_models_hidden_states() -> None:
    pool = make_pool(TEXTS)
    labels = KMeans(3, n_init=10, random_state=0).fit(naive_means(pool)).labels_.tolist()
    picks = order(selector_config("clusters", embedding=Embedding.model), pool)
    found = {pick.index: pick.why["cluster"] for pick in picks}
    assert len({(labels[index], found[index]) for index in found}) == 3


def test_clusters_are_numbered_by_their_first_rows_and_centres_go_with_them() -> None:
    rows = np.array([[5.0, 0], [0, 5], [5, 1], [0, 6], [-5, 0]])
    labels, centres = kmeans(rows, 3, 0, 10)
    assert labels == [0, 1, 0, 1, 2]
    assert centres == pytest.approx(np.array([[5, 0.5], [0, 5.5], [-5, 0]]))
    same, centres = kmeans(np.ones((4, 2)), 3, 0, 10)
    assert same == [0, 0, 0, 0] and len(centres) == 3 and centres[0] == pytest.approx([1, 1])
    assert kmeans(rows, 3, 2**40, 10)[0] == labels


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "opt_350m", "gpt2", "falcon_rw"])
def test_hidden_states_of_batches_are_those_of_each_sequence_alone(architecture: str) -> None:
    model, sequences = tiny_model(CONFIGS[architecture]()), [[5, 6, 7], [8], [9, 10, 11, 12, 13], []]
    found = last_hidden_means(model, sequences)
    for row, ids in zip(found, sequences[:-1], strict=False):
        with torch.no_grad():
            alone = model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
        assert row.tolist() == pytest.approx(alone.tolist(), rel=1e-4, abs=1e-5)
    assert not found[3].any()


def test_token_means_leave_out_what_fills_up() -> None:
    hidden = torch.arange(24.0).reshape(2, 4, 3)
    assert torch.equal(
        token_means(hidden, torch.tensor([2, 4])), torch.stack([hidden[0, :2].mean(dim=0), hidden[1].mean(dim=0)])
    )


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "falcon_7b"])
def test_activations_are_block_outputs_averaged_over_tokens(architecture: str) -> None:
    """By plain hooks, one sequence at a time, the long rows held whole."""
    model, sequences = tiny_model(CONFIGS[architecture]()), [[5, 6, 7], [8, 9], [9, 10, 11, 12, 13]]
    blocks = {"llama": "model.layers", "gpt2": "transformer.h", "falcon_7b": "transformer.h"}[architecture]
    seen: list[torch.Tensor] = []
    for block in model.get_submodule(blocks):
        block.register_forward_hook(lambda module, args, out: seen.append(out if isinstance(out, torch.Tensor) else out[0]))
    rows = []
    for ids in sequences:
        seen.clear()
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]))
        means = [hidden[0].double().mean(dim=0) for hidden in seen]
        rows.append(torch.cat([mean / mean.norm() for mean in means]).numpy())
    matrix = np.random.RandomState(3).standard_normal((len(rows[0]), 8)) / math.sqrt(8)
    for block in model.get_submodule(blocks):
        block._forward_hooks.clear()
    found = project_outputs(model, sequences, 8, 3).numpy()
    assert found == pytest.approx(np.stack(rows) @ matrix, rel=1e-4, abs=1e-5)


def test_activation_takes_the_nearest_to_each_of_as_many_centres_as_are_needed() -> None:
    texts, _ = planted(24)
    pool = make_pool(texts, num_needed=5, seed=1)
    rows = project_outputs(DENSE, [candidate.token_ids for candidate in pool.candidates], 64, 1).double().numpy()
    fitted = KMeans(5, n_init=10, random_state=1).fit(rows)
    distances = np.linalg.norm(rows - fitted.cluster_centers_[fitted.labels_], axis=1)
    nearest = [
        min(np.flatnonzero(fitted.labels_ == cluster).tolist(), key=lambda index: distances[index]) for cluster in range(5)
    ]
    picks = list(Activation(64).order(pool))
    assert indices(picks[:5]) == sorted(nearest)
    assert [pick.why["distance"] for pick in picks] == pytest.approx([distances[pick.index] for pick in picks], rel=1e-4)
    assert sorted(indices(picks)) == list(range(24))


def test_activation_fills_up_where_texts_are_the_same() -> None:
    picks = order(selector_config("activation"), make_pool(["red"] * 3 + ["nine plum"] * 3, num_needed=4))
    assert sorted(indices(picks)) == list(range(6))
    assert {pick.index // 3 for pick in picks[:2]} == {0, 1}
