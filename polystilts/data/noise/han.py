"""Characters that writers of Chinese and Japanese confuse: by sound (input by pinyin) and by shape.

Written for this project from common characters; docs/noise.md says how much of real text they cover. Simplified forms
stand here; `TRADITIONAL` gives the traditional form of each of them that has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

#: Simplified characters by syllable, tones aside: what an input method offers for the same keys. A character with
#: several readings stands under one of them.
PINYIN = """
ai 爱哀挨矮碍艾
an 安按案暗岸
ba 八把吧爸巴拔霸罢
bai 白百败拜摆
ban 半办班般板版搬伴
bang 帮棒榜傍绑
bao 包保报宝抱饱暴爆
bei 北被背备杯悲贝倍
ben 本奔笨
bi 比必笔毕币闭避壁鼻彼
bian 边变便编遍辩
biao 表标彪
bie 别憋
bing 并病冰兵饼
bo 波博播伯玻薄
bu 不部步布补捕
cai 才菜采财材彩猜
can 参残惨餐蚕
cang 藏仓苍舱
cao 草操曹槽
ce 侧测策册厕
ceng 层曾蹭
cha 查茶差察插叉
chan 产缠铲禅
chang 长常场厂唱尝昌畅
chao 朝超潮炒抄吵
che 车彻撤扯
chen 陈晨沉称臣尘趁
cheng 成城程承乘诚撑
chi 吃持迟池尺赤齿斥翅
chong 充冲虫崇
chou 抽丑愁仇臭
chu 出初处除楚触础储
chuan 船传穿川串
chuang 窗床创闯
chun 春纯唇
ci 此次词刺辞慈磁
cong 从聪匆丛
cun 村存寸
cuo 错措挫搓
da 大达打答搭
dai 代带待戴袋贷呆
dan 但单担蛋胆淡弹诞
dang 当党档挡
dao 到道岛倒刀导盗稻
de 的得德
deng 等灯登邓凳
di 地第低底弟敌帝抵递滴
dian 点电店典垫殿
diao 调掉吊雕钓
die 跌爹蝶叠
ding 定顶丁订钉盯
dong 东动冬懂洞冻栋
dou 斗豆抖陡
du 读度独毒堵渡杜肚
duan 段短断端锻
dui 对队堆
dun 顿吨盾蹲
duo 多夺朵躲
e 饿恶额鹅俄
er 二而儿耳尔
fa 发法罚乏伐
fan 反饭犯范翻凡烦繁
fang 方房放防访仿芳
fei 非飞费肥废肺
fen 分份粉奋纷坟
feng 风封丰峰锋疯冯
fu 父府副服富复福夫付负附妇浮扶符
gai 该改盖概
gan 干感敢赶甘肝
gang 刚钢港岗缸
gao 高告搞稿糕
ge 个各歌哥革格隔割
gen 跟根
gong 工公共功供宫攻贡巩
gou 够狗构购沟
gu 古故固姑骨顾鼓谷孤
gua 挂瓜刮寡
guai 怪乖拐
guan 关管观馆官惯冠
guang 光广逛
gui 贵归鬼规柜轨桂
guo 国过果锅郭
hai 还海害孩
han 汉含寒喊汗韩
hao 好号毫豪耗
he 和何合河喝核盒贺荷
hei 黑嘿
hen 很恨狠
hong 红宏洪虹
hou 后候厚猴
hu 湖户虎呼护互胡忽
hua 话花化画华划滑
huai 坏怀淮
huan 换欢环缓幻患
huang 黄皇慌荒煌
hui 会回灰汇挥惠毁辉
hun 混婚昏魂
huo 活火或获货祸
ji 机几记及级计己基季急即集极技际积击继纪鸡
jia 家加假价架甲佳嘉驾
jian 见间件建简减坚健检渐剑监兼
jiang 江讲将奖降姜
jiao 叫教交角较脚焦
jie 节接街姐界结解借届阶杰
jin 进近今金仅紧禁斤津尽
jing 经京精静竟境景警惊净镜
jiu 就九久旧酒救究
ju 举句局具据剧巨聚居距拒
juan 卷捐娟
jue 决绝觉掘
jun 军均君俊菌
kai 开凯慨
kan 看砍刊
kang 康抗扛
kao 考靠烤
ke 可课克客刻科渴颗
ken 肯垦恳
kong 空控孔恐
kou 口扣寇
ku 苦哭库酷裤
kuai 快块筷
kuan 宽款
kuang 况狂矿框
kun 困昆
la 拉啦辣蜡
lai 来赖
lan 蓝兰烂览懒栏
lang 浪郎狼朗
lao 老劳牢
le 了乐
lei 类累雷泪
leng 冷愣
li 里理力立利离历李例丽礼厉励
lian 连脸练联恋怜
liang 两亮量良凉粮梁
liao 料疗辽聊
lie 列烈裂猎
lin 林临邻
ling 令另领零灵龄铃
liu 六流留刘
long 龙隆笼
lou 楼漏搂
lu 路录陆露鲁炉鹿
luan 乱卵
lun 论轮伦
luo 落罗洛络
ma 马妈吗骂麻
mai 买卖埋麦脉
man 满慢漫
mang 忙盲茫
mao 毛猫冒帽贸矛
mei 没每美妹梅煤媒
men 们门闷
meng 梦猛盟孟
mi 米密迷秘蜜
mian 面免棉眠
miao 妙苗秒庙
min 民敏
ming 名明命鸣
mo 末莫模摸默磨魔
mu 目木母幕牧墓亩
na 那拿哪纳
nai 奶耐乃
nan 南难男
ni 你泥尼拟逆
nian 年念
niao 鸟尿
niu 牛纽扭
nong 农弄浓
nu 努怒奴
ou 欧偶
pa 怕爬
pai 派排拍牌
pan 盘判盼攀
pang 旁胖庞
pao 跑炮泡
pei 配陪培赔
peng 朋碰棚
pi 皮批疲
pian 片篇偏骗
piao 票漂飘
pin 品贫拼频
ping 平评凭瓶苹
po 破迫坡
pu 普铺扑
qi 起其期气七器奇齐企妻旗棋骑
qian 前钱千签浅迁牵潜
qiang 强枪墙抢
qiao 桥巧敲瞧
qie 切且窃
qin 亲琴勤侵秦
qing 请情清轻青庆
qiong 穷琼
qiu 求球秋丘
qu 去取区曲趣
quan 全权泉圈劝
que 却确缺
qun 群裙
ran 然燃染
rang 让嚷
rao 绕扰饶
re 热惹
ren 人认任仁忍
rong 容荣融
rou 肉柔
ru 如入乳
ruo 若弱
san 三散伞
sang 桑丧
se 色塞
sha 杀沙傻
shan 山闪善扇
shang 上商伤赏
shao 少烧稍
she 社设射舌蛇舍
shen 深身神什甚伸申
sheng 生声省胜升圣盛
shi 是时事十使市世示式视适释识失师诗史始士石食试实室势
shou 手受收首守授售
shu 书数树术属输叔熟束述
shua 刷耍
shuang 双霜
shui 水睡谁税
shun 顺瞬
shuo 说硕
si 四死思私司丝似
song 送松宋
sou 搜艘
su 速苏诉素俗宿
suan 算酸
sui 岁随碎虽
sun 孙损
suo 所索锁缩
ta 他她它塔踏
tai 太台态抬泰
tan 谈探坦叹
tang 堂糖汤唐躺
tao 套逃桃讨陶
teng 疼腾
ti 题体提替梯
tian 天田甜添填
tiao 条跳挑
tie 铁贴
ting 听停庭厅挺
tong 同通统痛童铜桶
tou 头投透偷
tu 图土突途徒
tuan 团湍
tui 推退腿
tuo 托脱拖
wa 挖娃瓦
wai 外歪
wan 完万晚玩湾碗弯
wang 王往望忘网亡
wei 为位未味围委伟尾危维微卫
wen 文问闻温稳
wo 我握卧
wu 五无物午务武误屋舞
xi 西系息希习喜洗细席吸戏析
xia 下夏吓虾
xian 先现线县显险限献鲜闲
xiang 想向象像相香乡响项享详
xiao 小笑校消晓效
xie 写些谢鞋协斜
xin 新心信辛欣
xing 行性星型形姓兴醒幸
xiong 雄兄胸熊
xiu 修休秀
xu 许需续须序虚
xuan 选宣旋
xue 学雪血穴
xun 寻训讯迅
ya 压牙亚呀雅
yan 眼言研严演验烟延沿颜
yang 样阳养羊洋杨
yao 要药摇腰邀
ye 也业夜叶爷野
yi 一以已意义医易议艺异益衣移疑亿译忆
yin 因音引银印饮
ying 应影英迎营硬
yong 用永勇泳
you 有又由友右油游优尤
yu 与于语雨鱼玉预育余遇域欲予
yuan 元原员院远园源愿缘
yue 月越约
yun 云运允
za 杂砸
zai 在再载灾
zan 赞暂
zao 早造遭糟
ze 则责泽
zeng 增赠
zha 炸扎
zhan 站战占展
zhang 张章掌涨
zhao 找照招赵
zhe 这者着折哲
zhen 真阵镇针震
zheng 正政整证争征
zhi 只之知至制指直志治支纸值止质致职
zhong 中种重众终钟
zhou 周州洲舟
zhu 主住注助祝著珠逐
zhuan 转专砖
zhuang 装状庄壮
zhui 追坠
zhun 准谆
zi 自子字资
zong 总宗综
zou 走奏
zu 组足族祖
zui 最嘴罪醉
zun 尊遵
zuo 做作坐左座昨
"""

#: Characters of like shape, simplified and in use in Chinese.
SHAPES_CHINESE = """
己已巳 末未 人入 土士 日曰目 天夫无 大太犬 千干于 拔拨 折拆 候侯 戌戍 兔免 鸟乌 今令 刀力 办为 住往佳 清情晴请
跑抱饱泡炮 喝渴 很狠恨 买卖 采彩 辨辩 间问闻 门们 句旬 午牛 木本术 白自百 田由甲申 西四 贝见 王玉主 云去 先洗 元无
公分 从众 计汁 找我 代伐 休体 历厉 没设 话活 诉拆 课棵 说悦 淮准 几儿九 小少 心必 外处 冬各 名各 右石 古舌 占古 吉古
可司 民氏 且目 失矢 左在 布市 车东 鸣鸡 岁多 园圆 困因团 拉位 枝技 抄炒 幻幼 孤狐 享亨 茶荼 眼眠 睛晴 渡度 环怀坏
低底 倒到 城诚 栽载裁 晒洒 陪倍 培赔 据剧 偏编遍 验险检 蓝篮 暮幕墓 暖援 慢漫 像象 熟热 戴载 壁璧 籍藉 竞竟 徒徙
孟盂 萧箫 密蜜 换唤 祖组
"""

#: Kanji of like shape, as Japanese writes them.
SHAPES_JAPANESE = """
己已巳 末未 人入 土士 日曰目 天夫 大太犬 千干于 折析 候侯 戌戍 鳥烏 今令 刀力 住往佳 清晴情請 問間聞開閉 句旬 午牛
木本 白自百 田由甲申 西四 貝見具 王玉主 元完 公分 計汁 代伐 休体 投設役 活話 説悦 小少 心必 名各 右石 古舌 占古 可司
民氏 失矢 左在 布市 東束 遺遣 因困囚 持待特 枝技 幻幼 孤弧 享亨 眼眠 低底 到倒 栽載裁 陪倍 偏編遍 険検験 暮幕墓 暖援
慢漫 象像 熱熟 微徴 壁璧 籍藉 徒徙 密蜜 緑縁 綱網 往住 深探 科料 復複 績積 観勧歓 従徒 側測則 率卒 論輪 義議儀 復後
矢失 若苦 氷永 水氷
"""

#: Words that sound alike in Japanese, among which an input method has to choose.
JAPANESE_WORDS = """
以外 意外
機会 機械 器械
対象 対照 対称
保障 保証 補償
感心 関心 歓心
意志 意思 医師
期間 機関 器官 気管
移動 異動 異同
開放 解放 快方
過程 課程 仮定
科学 化学
市立 私立
公演 講演 公園
最後 最期
自身 自信 地震
製作 制作 政策
追求 追及 追究
対抗 対向 大綱
創造 想像
成長 生長 清澄
効果 高価 硬貨
使用 仕様 試用 私用
事態 辞退 字体
指示 支持 師事
記事 生地
後悔 公開 航海
回答 解答
会議 懐疑
協会 教会 境界
強力 協力
共同 協同
工場 向上 口上
構成 公正 攻勢 校正
交渉 考証 高尚
思考 試行 施行 志向
時期 時機 磁気
資格 視覚 四角 死角
自動 児童
支店 視点
実体 実態
収集 収拾
進行 信仰 新興 振興
人口 人工
正確 性格
生産 精算 清算
戦争 船倉
前進 全身
体制 態勢 体勢 大勢
体系 体型 体形
天気 転機 転記
伝統 電灯
同士 同志
特徴 特長
内蔵 内臓
発生 発声
反対 繁体
必死 必至
普及 不朽
夫人 婦人
平行 並行 閉口
方向 芳香
無線 無銭
優勝 有償
要求 洋弓
予約 与薬
連携 連係
暖かい 温かい
暑い 熱い 厚い
早い 速い
初め 始め
会う 合う 遭う
"""

#: Traditional forms of characters above, as pairs.
TRADITIONAL = """
万萬 与與 专專 业業 丛叢 东東 丝絲 两兩 严嚴 丧喪 个個 丰豐 临臨 为為 丽麗 举舉 么麼 义義 乌烏 乐樂 习習 乡鄉 书書
买買 乱亂 争爭 于於 亚亞 产產 亩畝 亲親 亿億 仅僅 从從 仓倉 们們 价價 众眾 优優 会會 伞傘 伟偉 传傳 伤傷 伦倫 体體
侧側 储儲 儿兒 党黨 兰蘭 关關 兴興 养養 内內 册冊 写寫 军軍 农農 冯馮 冲衝 决決 况況 冻凍 净淨 凉涼 减減 凭憑 凯凱
击擊 划劃 刘劉 则則 刚剛 创創 别別 剑劍 剧劇 劝勸 办辦 务務 动動 励勵 劳勞 势勢 区區 医醫 华華 协協 单單 卖賣 卧臥
卫衛 却卻 厂廠 厅廳 历歷 厉厲 压壓 厕廁 县縣 参參 双雙 发發 变變 叠疊 叶葉 号號 叹嘆 吓嚇 吗嗎 吨噸 听聽 员員 响響
唤喚 团團 园園 围圍 国國 图圖 圆圓 圣聖 场場 坏壞 块塊 坚堅 坟墳 坠墜 垦墾 垫墊 墙牆 壮壯 声聲 处處 备備 复復 够夠
头頭 夺奪 奋奮 奖獎 妇婦 妈媽 孙孫 学學 宝寶 实實 宫宮 宽寬 对對 寻尋 导導 将將 尔爾 尘塵 尝嘗 尽盡 层層 届屆 属屬
岁歲 岗崗 岛島 巩鞏 币幣 师師 带帶 帮幫 并並 广廣 庄莊 庆慶 库庫 应應 庙廟 庞龐 废廢 开開 异異 张張 弯彎 弹彈 强強
归歸 当當 录錄 彻徹 忆憶 怀懷 态態 怜憐 总總 恋戀 恳懇 恶惡 悦悅 惊驚 惨慘 惯慣 愿願 懒懶 戏戲 战戰 户戶 扑撲 托託
扰擾 抢搶 护護 报報 担擔 拟擬 拨撥 挂掛 挡擋 挥揮 损損 换換 据據 搂摟 摆擺 摇搖 撑撐 敌敵 数數 断斷 无無 旧舊 时時
显顯 晒曬 晓曉 暂暫 术術 机機 杀殺 杂雜 权權 条條 来來 杨楊 杰傑 极極 构構 枪槍 柜櫃 标標 栋棟 栏欄 树樹 样樣 档檔
桥橋 梦夢 检檢 楼樓 欢歡 欧歐 残殘 毁毀 毕畢 气氣 汇匯 汉漢 汤湯 沟溝 没沒 泪淚 泽澤 洒灑 浅淺 测測 浓濃 涨漲 渐漸
温溫 湾灣 满滿 潜潛 灯燈 灵靈 灾災 炉爐 点點 烂爛 烟煙 烦煩 烧燒 热熱 爱愛 爷爺 牵牽 状狀 独獨 猎獵 猫貓 献獻 环環
现現 琼瓊 电電 画畫 畅暢 疗療 疯瘋 监監 盖蓋 盗盜 盘盤 矿礦 砖磚 础礎 硕碩 确確 碍礙 礼禮 祸禍 禅禪 离離 种種 积積
称稱 税稅 稳穩 穷窮 窃竊 竞競 笔筆 笼籠 签籤 简簡 箫簫 篮籃 类類 粮糧 紧緊 红紅 约約 级級 纪紀 纯純 纳納 纷紛 纸紙
纽紐 线線 练練 组組 细細 终終 经經 绑綁 结結 绕繞 给給 络絡 绝絕 统統 继繼 续續 维維 综綜 缓緩 编編 缘緣 缠纏 缩縮
网網 罗羅 罚罰 罢罷 职職 联聯 聪聰 胆膽 胜勝 脉脈 脚腳 脱脫 脸臉 腾騰 舱艙 艺藝 节節 苍蒼 苏蘇 苹蘋 范範 荣榮 药藥
获獲 营營 萧蕭 蓝藍 虚虛 虫蟲 虽雖 虾蝦 蚕蠶 蜡蠟 补補 装裝 裤褲 见見 观觀 规規 视視 览覽 觉覺 触觸 计計 订訂 认認
讨討 让讓 训訓 议議 讯訊 记記 讲講 许許 论論 设設 访訪 证證 评評 识識 诉訴 词詞 译譯 试試 诗詩 诚誠 话話 诞誕 该該
详詳 语語 误誤 说說 请請 读讀 课課 谁誰 调調 谆諄 谈談 谢謝 贝貝 负負 贡貢 财財 责責 败敗 货貨 质質 贫貧 购購 贴貼
贵貴 贷貸 贸貿 费費 贺賀 资資 赏賞 赔賠 赖賴 赞贊 赠贈 赵趙 赶趕 车車 轨軌 转轉 轮輪 轻輕 载載 较較 辉輝 输輸 辞辭
辩辯 边邊 辽遼 达達 迁遷 过過 运運 还還 这這 进進 远遠 连連 迟遲 适適 选選 递遞 邓鄧 邻鄰 释釋 针針 钉釘 钓釣 钟鍾
钢鋼 钱錢 铁鐵 铃鈴 铜銅 铲鏟 银銀 铺鋪 锁鎖 锅鍋 锋鋒 错錯 锻鍛 镇鎮 镜鏡 长長 门門 闪閃 闭閉 问問 闯闖 闲閒 间間
闷悶 闻聞 队隊 阳陽 阵陣 阶階 际際 陆陸 陈陳 险險 随隨 难難 静靜 韩韓 顶頂 项項 顺順 须須 顾顧 顿頓 预預 领領 频頻
颗顆 题題 颜顏 额額 风風 飘飄 飞飛 饭飯 饮飲 饱飽 饶饒 饼餅 饿餓 馆館 马馬 驾駕 骂罵 验驗 骑騎 骗騙 鱼魚 鲁魯 鲜鮮
鸟鳥 鸡雞 鸣鳴 鹅鵝 麦麥 黄黃 齐齊 齿齒 龄齡 龙龍
"""


@cache
def _pairs() -> Mapping[str, str]:
    return MappingProxyType({pair[0]: pair[1] for pair in TRADITIONAL.split()})


@cache
def _simplified() -> Mapping[str, str]:
    return MappingProxyType({traditional: simplified for simplified, traditional in _pairs().items()})


def is_traditional(text: str) -> bool:
    """Whether a Chinese text has more traditional forms than simplified ones, of those that tell them apart."""
    return sum(c in _simplified() for c in text) > sum(c in _pairs() for c in text)


def groups_of(text: str, *, traditional: bool = False) -> dict[str, tuple[str, ...]]:
    """Groups of characters as a table: each character -> the others it stands with, in the order given."""
    table: dict[str, tuple[str, ...]] = {}
    for group in text.split():
        written = [_pairs().get(c, c) for c in group] if traditional else list(group)
        for character in written:
            others = (c for c in written if c != character)
            table[character] = tuple(dict.fromkeys((*table.get(character, ()), *others)))
    return table


def homophones(*, traditional: bool = False) -> dict[str, tuple[str, ...]]:
    """Each Chinese character of `PINYIN` -> the others of its syllable."""
    return groups_of("\n".join(line.split()[1] for line in PINYIN.strip().splitlines()), traditional=traditional)


def word_homophones() -> dict[str, tuple[str, ...]]:
    """Each Japanese word of `JAPANESE_WORDS` -> the others that sound like it."""
    lines = [line.split() for line in JAPANESE_WORDS.strip().splitlines()]
    return {word: tuple(other for other in line if other != word) for line in lines for word in line}
