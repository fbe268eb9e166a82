"""Wikipedia by language, the articles of 1 November 2023 as plain text. Streamed; there is no held-out split."""

from prune.data.dataset import Category, Hub, LanguageSet, Row, TextSet
from prune.data.formatting.columns import column_text

_LANGUAGES = """
ab ace ady af als alt am ami an ang anp ar arc ary arz as ast atj av avk awa ay az azb ba ban bar bat-smg bcl be
be-x-old bg bh bi bjn blk bm bn bo bpy br bs bug bxr ca cbk-zam cdo ce ceb ch chr chy ckb co cr crh cs csb cu cv
cy da dag de din diq dsb dty dv dz ee el eml en eo es et eu ext fa fat ff fi fiu-vro fj fo fon fr frp frr fur fy
ga gag gan gcr gd gl glk gn gom gor got gpe gu guc gur guw gv ha hak haw he hi hif hr hsb ht hu hy hyw ia id ie
ig ik ilo inh io is it iu ja jam jbo jv ka kaa kab kbd kbp kcg kg ki kk kl km kn ko koi krc ks ksh ku kv kw ky
la lad lb lbe lez lfn lg li lij lld lmo ln lo lt ltg lv mad mai map-bms mdf mg mhr mi min mk ml mn mni mnw mr
mrj ms mt mwl my myv mzn nah nap nds nds-nl ne new nia nl nn no nov nqo nrm nso nv ny oc olo om or os pa pag pam
pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt pwn qu rm rmy rn ro roa-rup roa-tara ru rue rw sa sah sat sc scn
sco sd se sg sh shi shn si simple sk skr sl sm smn sn so sq sr srn ss st stq su sv sw szl szy ta tay tcy te tet
tg th ti tk tl tly tn to tpi tr trv ts tt tum tw ty tyv udm ug uk ur uz ve vec vep vi vls vo wa war wo wuu xal
xh xmf yi yo za zea zh zh-classical zh-min-nan zh-yue zu
"""


def _text(row: Row) -> str:
    return column_text(row, "text")


def _in_language(language: str) -> TextSet:
    return TextSet(
        name=f"wikipedia_{language}",
        category=Category.PRETRAINING,
        hub=Hub(
            path="wikimedia/wikipedia",
            config=f"20231101.{language}",
            revision="b04c8d1ceb2f5cd4588862100d08de323dccfbaa",
            streaming=True,
        ),
        text=_text,
        columns=("text",),
        eval_split="validation",
    )


LANGUAGES = LanguageSet(name="wikipedia", languages=tuple(_LANGUAGES.split()), in_language=_in_language)
